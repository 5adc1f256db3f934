"""What a reader must know before any figure: caveats, rows that ended badly, verdicts that are missing."""

from typing import Literal

from safechain_ray.metrics.summary import RunMetrics
from safechain_ray.report.html.markup import Markup, element, join
from safechain_ray.report.notes import notes
from safechain_ray.types import Outcome

ENDED_BADLY: dict[Outcome, str] = {
    "error": "ended with an error",
    "blocked": "were blocked by the provider",
    "truncated": "were cut off before their end",
}


def know_first(metrics: RunMetrics) -> Markup:
    """Caveats, then four counts, then what is to be known of single settings."""
    rows = sum(setting.rows for setting in metrics.settings)
    asked = sum(
        (judge.prompts + setting.benign_prompts) * setting.samples
        for setting in metrics.settings
        for judge in setting.judges
    )
    counts = [
        _tile(count, asked, "verdicts", "are missing", key)
        if key == "missing"
        else _tile(count, rows, "samples", ENDED_BADLY[key], key)
        for key, count in counts_of_wrongs(metrics).items()
    ]
    found = notes(metrics)
    return join(
        [element("p", caveat, class_="caveat") for caveat in metrics.caveats],
        element("ul", counts, class_="tiles"),
        element(
            "details", element("summary", f"{len(found):,} notes to read with care"), _list(found), open=len(found) < 6
        )
        if found
        else element("p", "Every row is there, and no figure rests on few prompts.", class_="legend"),
    )


def counts_of_wrongs(metrics: RunMetrics) -> dict[Outcome | Literal["missing"], int]:
    """How many samples ended badly, by outcome, and how many verdicts are `missing`."""
    counts: dict[Outcome | Literal["missing"], int] = {
        outcome: sum(setting.outcomes[outcome] for setting in metrics.settings) for outcome in ENDED_BADLY
    }
    counts["missing"] = sum(judge.all_missing for setting in metrics.settings for judge in setting.judges)
    return counts


def _list(found: list[str]) -> Markup:
    return element("ul", [element("li", note) for note in found])


def _tile(count: int, of: int, kind: str, words: str, key: str) -> Markup:
    return element(
        "li",
        element("strong", f"{count:,}"),
        element("span", f"of {of:,} {kind} {words}"),
        class_="tile warn" if count else "tile",
        data_count=key,
    )
