"""The report's sample browser as a reader uses it."""

import re
from typing import Any

from playwright.sync_api import Page, expect

from safechain_ray.metrics.summary import Metric, RunMetrics, SettingMetrics
from safechain_ray.report.labels import common_sampling, setting_label

CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => {
      const share = part / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = rgb(getComputedStyle(node).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    throw new Error("no ground");
  };
  const found = [];
  for (const node of document.body.querySelectorAll("*")) {
    const texts = [...node.childNodes].filter((child) => child.nodeType === 3);
    const words = texts.map((child) => child.data).join("").trim();
    if (words === "" || !node.checkVisibility() || node.matches("script, :disabled, title, .skip")) continue;
    const style = getComputedStyle(node);
    const ink = rgb(node instanceof SVGElement ? style.fill : style.color);
    const [high, low] = [light(ink), light(ground(node))].sort((a, b) => b - a);
    found.push([(high + 0.05) / (low + 0.05), words.slice(0, 40)]);
  }
  return found;
}"""

CROWDED = """() => {
  const found = [];
  for (const picture of document.querySelectorAll("figure svg")) {
    if (!picture.checkVisibility()) continue;
    const whole = picture.getBoundingClientRect();
    const boxes = [...picture.querySelectorAll("text")].map((text) => [text.textContent, text.getBoundingClientRect()]);
    boxes.forEach(([words, box], place) => {
      if (box.left < whole.left - 1 || box.right > whole.right + 1) found.push(`${words} is outside`);
      if (box.top < whole.top - 1 || box.bottom > whole.bottom + 1) found.push(`${words} is outside`);
      for (const [others, other] of boxes.slice(place + 1)) {
        const across = Math.min(box.right, other.right) - Math.max(box.left, other.left);
        const down = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
        if (across > 1 && down > 3) found.push(`${words} is over ${others}`);
      }
    });
  }
  return found;
}"""


Figures = dict[str, list[list[str]]]


def figures_of(metrics: RunMetrics) -> Figures:
    """Every row that the table should show, by the name of setting, judge and part, a list of words a cell."""
    common = common_sampling(metrics.settings)
    with_refusals = any(each.over_refusal is not None for each in metrics.settings)
    return {
        f"{setting_label(each, common)}\n{judge.judge}, {judge.part}": [
            *(_shown(metric, judge.missing) for metric in (judge.safe_at_1, judge.cons_safe_at_k, judge.safe_at_k)),
            [f"{judge.missing:,}"],
            *([[] if place else _refusals(each)] if with_refusals else []),
        ]
        for each in metrics.settings
        for place, judge in enumerate(each.judges)
    }


def _refusals(setting: SettingMetrics) -> list[str]:
    found = setting.over_refusal
    return ["-"] if found is None else _shown(found.refused, found.missing)


def _shown(metric: Metric, missing: int) -> list[str]:
    value, low, high, bottom, top = (
        "none" if figure is None else f"{100 * figure:.1f}"
        for figure in (metric.value, metric.low, metric.high, metric.bound_low, metric.bound_high)
    )
    return [value, f"{low}–{high}", *([f"({bottom}–{top})"] if missing else [])]


class Reader:
    def __init__(self, page: Page) -> None:
        self.page = page
        self.article = page.locator("#sample")
        expect(page.locator("#list")).to_have_attribute("aria-busy", "false")

    def figures(self) -> Figures:
        """Every row of the table of figures, as `figures_of` gives them."""
        return {
            row.locator("th").inner_text(): [cell.inner_text().split() for cell in row.locator("td").all()]
            for row in self.page.locator("#figures table").first.locator("tbody tr").all()
        }

    def filter(self, **wanted: Any) -> None:
        """Set filters by the words that their controls show."""
        for name, value in wanted.items():
            if name == "search":
                self.page.locator("#search").fill(value)
            elif name == "disagree":
                self.page.locator("#disagree").set_checked(value)
            else:
                self.page.locator(f"#by-{name}").select_option(label=value)

    def found(self) -> int:
        """How many samples the filters leave, as the page shows after its search."""
        expect(self.page.locator("#list")).to_have_attribute("aria-busy", "false")
        return int(self.page.locator("#found").inner_text().split(" of ")[0].replace(",", ""))

    def listed(self) -> list[tuple[str, str, int]]:
        """Setting, prompt and sample of every row on every page of the list."""
        rows: list[tuple[str, str, int]] = []
        while True:
            for words in self.page.locator("#list li .where").all_inner_texts():
                setting, prompt, number = words.split(" · ")
                rows.append((setting, prompt, int(number)))
            following = self.page.locator("#next-page")
            if following.is_disabled():
                return rows
            following.click()

    def blurred(self) -> dict[str, bool]:
        """Of each text of the open sample, whether it is blurred."""
        blocks = self.article.locator(".block").all()
        return {
            block.get_attribute("aria-label") or "": block.locator(".text.blurred").count() == 1 for block in blocks
        }

    def selected(self) -> int:
        """The place of the selected row, from 1; the sample beside it is the same."""
        option = self.page.locator("#list li[aria-selected=true]")
        prompt = option.locator(".where").inner_text().split(" · ")[1]
        expect(self.page.locator("#sample h3")).to_have_text(re.compile(f"^{re.escape(prompt)}, "))
        return int(option.get_attribute("aria-posinset") or 0)

    def press(self, key: str) -> None:
        """A key pressed in the list."""
        before = self.page.locator("#sample h3").inner_text()
        self.page.locator("#list").focus()
        self.page.keyboard.press(key)
        if key in "jk":
            expect(self.page.locator("#sample h3")).not_to_have_text(before)

    def contrasts(self) -> list[tuple[float, str]]:
        return contrasts(self.page)


def contrasts(page: Page) -> list[tuple[float, str]]:
    """The contrast of every piece of text that shows with its ground, by WCAG 2."""
    return [(ratio, words) for ratio, words in page.evaluate(CONTRASTS)]


def crowded_texts(page: Page) -> list[str]:
    """The texts of the plots that show which reach out of their picture or touch each other."""
    return page.evaluate(CROWDED)
