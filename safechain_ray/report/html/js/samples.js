// The sample browser: filters above a list in pages, and the sample that is read beside it.

const ROWS_A_PAGE = 50;

const TEXTS = [
  ["prompt", "Prompt"],
  ["thought", "Thought"],
  ["answer", "Answer"],
  ["response", "Response"],
  ["error", "Error"],
];

class Browser {
  constructor(index) {
    this.index = index;
    this.rows = [];
    this.place = 0; // in rows, of the sample that is read
    this.showsAll = false;
    this.queries = 0; // counts changes of the filters, so that an outdated search ends
    this.list = document.getElementById("list");
    this.article = document.getElementById("sample");
    this.fillFilters();
    this.listen();
  }

  // --- filters

  fillFilters() {
    const { settings, categories, judges, outcome } = this.index;
    const each = (names) => [...new Set(names)].map((name) => [name, name]);
    options("by-setting", "all", settings.map((name, code) => [code, name]));
    options("by-category", "all", categories.map((name, code) => [code, name]).sort(([, a], [, b]) => (a < b ? -1 : 1)));
    options("by-outcome", "all", each(outcome));
    options("by-judge", "any", each(judges.map(({ judge }) => judge)));
    options("by-part", "any", each(judges.map(({ part }) => part)));
    options("by-verdict", "any", Object.entries(VERDICTS));
  }

  wanted() {
    const wanted = {};
    for (const key of ["setting", "category"]) {
      const chosen = document.getElementById(`by-${key}`).value;
      if (chosen !== "") wanted[key] = Number(chosen);
    }
    for (const key of ["outcome", "judge", "part", "verdict"]) {
      const chosen = document.getElementById(`by-${key}`).value;
      if (chosen !== "") wanted[key] = chosen;
    }
    if (document.getElementById("disagree").checked) wanted.disagree = true;
    return wanted;
  }

  async filter() {
    const query = (this.queries += 1);
    this.setBusy(true);
    const words = document.getElementById("search").value;
    let rows = rowsWanted(this.index, this.wanted());
    if (words !== "") {
      const progress = (done, of) => this.showStatus(`Searching, ${Math.round((100 * done) / of)}%…`);
      rows = await rowsWithWords(this.index, rows, words, progress, () => query !== this.queries);
      if (rows === null) return;
    }
    this.rows = rows;
    this.place = 0;
    this.showStatus(`${rows.length.toLocaleString("en")} of ${this.index.setting.length.toLocaleString("en")} samples`);
    this.drawPage();
    await this.drawSample();
    if (query === this.queries) this.setBusy(false);
  }

  setBusy(busy) {
    this.list.setAttribute("aria-busy", String(busy));
  }

  showStatus(words) {
    document.getElementById("found").textContent = words;
  }

  // --- the list

  drawPage() {
    const first = this.place - (this.place % ROWS_A_PAGE);
    const shown = this.rows.slice(first, first + ROWS_A_PAGE);
    fill(this.list, shown.map((row, place) => this.option(row, first + place)));
    const pages = Math.max(1, Math.ceil(this.rows.length / ROWS_A_PAGE));
    const page = first / ROWS_A_PAGE + 1;
    document.getElementById("page").textContent = `page ${page} of ${pages.toLocaleString("en")}`;
    document.getElementById("previous-page").disabled = page === 1;
    document.getElementById("next-page").disabled = page === pages;
    this.markPlace();
  }

  option(row, place) {
    const { index } = this;
    const prompt = index.prompt[row];
    const outcome = index.outcome[row];
    const hidden = this.showsAll ? {} : { class: "blurred", "aria-hidden": "true" };
    return make(
      "li",
      {
        id: `option${place}`,
        role: "option",
        "data-row": row,
        "aria-posinset": place + 1,
        "aria-setsize": this.rows.length,
      },
      make("span", { class: "start" }, isolated(index.prompts.start[prompt], hidden)),
      make(
        "span",
        { class: "where" },
        isolated(index.settings[index.setting[row]]),
        " · ",
        isolated(index.prompts.id[prompt]),
        ` · ${index.index[row] + 1}`,
      ),
      make(
        "span",
        { class: "marks" },
        outcome === "ok" ? null : make("span", { class: `pill ${outcome}` }, outcome),
        index.judges.map(({ judge, part }, at) => verdictPill(index.verdicts[row][at], `${judge}, ${part}`)),
      ),
    );
  }

  markPlace() {
    for (const option of this.list.children) {
      option.setAttribute("aria-selected", String(option.id === `option${this.place}`));
    }
    const current = document.getElementById(`option${this.place}`);
    if (current === null) {
      this.list.removeAttribute("aria-activedescendant");
      return;
    }
    this.list.setAttribute("aria-activedescendant", current.id);
    const { offsetTop: top, offsetHeight: height } = current;
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    const under = top + height - this.list.clientHeight;
    if (under > this.list.scrollTop) this.list.scrollTop = under;
  }

  // Go to a place in the rows, as near as there is one.
  async go(place) {
    const wanted = Math.max(0, Math.min(this.rows.length - 1, place));
    if (this.rows.length === 0 || wanted === this.place) return;
    const samePage = Math.floor(wanted / ROWS_A_PAGE) === Math.floor(this.place / ROWS_A_PAGE);
    this.place = wanted;
    if (samePage) this.markPlace();
    else this.drawPage();
    await this.drawSample();
  }

  // --- the sample

  async drawSample() {
    const row = this.rows[this.place];
    if (row === undefined) {
      fill(this.article, [make("p", { class: "empty" }, "No sample fits the filters.")]);
      return;
    }
    const sample = await textsOf(this.index, row);
    if (row !== this.rows[this.place]) return; // the reader has opened another sample
    const { index } = this;
    const prompt = index.prompt[row];
    fill(this.article, [
      make(
        "header",
        {},
        make("h3", {}, isolated(index.prompts.id[prompt]), `, sample ${index.index[row] + 1}`),
        make(
          "p",
          {},
          isolated(index.settings[index.setting[row]]),
          " · ",
          isolated(index.categories[index.prompts.category[prompt]]),
          " · ",
          make("span", { class: `pill ${index.outcome[row]}` }, index.outcome[row]),
        ),
      ),
      this.verdictTable(row, sample),
      sample === null
        ? make("p", { class: "empty" }, "The texts of this sample are not in this file; the run's folder holds them.")
        : [TEXTS.map(([key, name]) => this.textBlock(sample[key], name)), this.factList(sample)],
    ]);
    this.article.scrollTop = 0;
  }

  verdictTable(row, sample) {
    const lines = this.index.judges.map(({ judge, part }, at) => {
      const [score, categories, error, note] = sample?.verdicts[at] ?? [null, [], null, null];
      return make(
        "tr",
        {},
        make("th", { scope: "row" }, isolated(judge), `, ${part}`),
        make("td", {}, verdictPill(this.index.verdicts[row][at])),
        make("td", { class: "number" }, score === null ? "" : score.toFixed(3)),
        make("td", {}, isolated([...categories, error, note].filter((found) => found).join("; "))),
      );
    });
    const head = [["judge", "Judge, part"], ["verdict", "Verdict"], ["score", "Score"], ["", "Categories, notes"]].map(
      ([term, name]) => make("th", { scope: "col", class: term === "score" ? "number" : "" }, termLink(term, name)),
    );
    return make(
      "table",
      { class: "verdicts" },
      make("caption", { class: "unseen-caption" }, "Verdicts"),
      make("thead", {}, make("tr", {}, head)),
      make("tbody", {}, lines),
    );
  }

  textBlock(text, name) {
    if (text === null) return null;
    const body = make("div", { class: "text", dir: "auto", tabindex: "0" }, inert(text));
    if (text === "") body.append(make("em", {}, "empty"));
    const button = make("button", { type: "button", class: "reveal", "data-reveals": name });
    const block = make("section", { class: "block", "aria-label": name }, make("h4", {}, name, button), body);
    this.reveal(block, this.showsAll);
    button.addEventListener("click", () => this.reveal(block, body.classList.contains("blurred")));
    body.addEventListener("click", () => this.reveal(block, true));
    return block;
  }

  reveal(block, shown) {
    const body = block.querySelector(".text");
    body.classList.toggle("blurred", !shown);
    if (shown) body.removeAttribute("aria-hidden");
    else body.setAttribute("aria-hidden", "true");
    body.tabIndex = shown ? 0 : -1;
    const button = block.querySelector("button");
    button.textContent = shown ? "Blur" : "Show";
    button.setAttribute("aria-label", `${shown ? "Blur" : "Show"} the ${button.dataset.reveals.toLowerCase()}`);
  }

  // All texts of the sample, or, where they show already, none.
  toggleTexts() {
    const blocks = [...this.article.querySelectorAll(".block")];
    const shown = blocks.some((block) => block.querySelector(".blurred") !== null);
    for (const block of blocks) this.reveal(block, shown);
  }

  async toggleAll() {
    this.showsAll = !this.showsAll;
    const button = document.getElementById("reveal-all");
    button.setAttribute("aria-pressed", String(this.showsAll));
    button.textContent = this.showsAll ? "Blur all texts" : "Show all texts";
    this.drawPage();
    await this.drawSample();
  }

  factList(sample) {
    const facts = this.index.facts.map((name, at) => [name, sample.facts[at]]);
    const known = [["sample_id", sample.id], ...facts].filter(([, value]) => value !== null);
    const named = (name) => termLink(name.replaceAll("_", "-"), name.replaceAll("_", " "));
    const written = (value) => (typeof value === "number" ? value.toLocaleString("en", { useGrouping: value < 1e6 }) : value);
    return make(
      "dl",
      { class: "facts" },
      known.map(([name, value]) => make("div", {}, make("dt", {}, named(name)), make("dd", {}, isolated(written(value))))),
    );
  }

  // --- events

  listen() {
    const filters = document.getElementById("filters");
    let pause = 0;
    filters.addEventListener("submit", (event) => event.preventDefault());
    filters.addEventListener("change", (event) => event.target.id !== "search" && this.filter());
    filters.addEventListener("reset", () => {
      this.setBusy(true);
      setTimeout(() => this.filter()); // the controls are reset behind this event
    });
    document.getElementById("search").addEventListener("input", () => {
      this.queries += 1; // a running search is outdated from the first letter on
      this.setBusy(true);
      clearTimeout(pause);
      pause = setTimeout(() => this.filter(), 250);
    });
    document.getElementById("previous-page").addEventListener("click", () => this.go(this.place - ROWS_A_PAGE));
    document.getElementById("next-page").addEventListener("click", () => this.go(this.place + ROWS_A_PAGE));
    document.getElementById("reveal-all").addEventListener("click", () => this.toggleAll());
    this.list.addEventListener("click", (event) => {
      const option = event.target.closest("li");
      if (option) this.go(Number(option.getAttribute("aria-posinset")) - 1);
    });
  }
}

function verdictPill(code, judge = null) {
  const name = VERDICTS[code];
  if (judge === null) return make("span", { class: `pill ${name}` }, name);
  const words = `${inertLine(judge)}: ${name}`;
  return make("span", { class: `dot ${name}`, title: words, role: "img", "aria-label": words }, code === "m" ? "?" : code);
}

// Fill a select: `all` first, whose value is empty, then [value, name] pairs.
function options(id, all, pairs) {
  const drawn = pairs.map(([value, name]) => make("option", { value }, inertLine(name)));
  fill(document.getElementById(id), [make("option", { value: "" }, all), drawn]);
}
