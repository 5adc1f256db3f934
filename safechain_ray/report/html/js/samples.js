// The sample browser: what the filters leave, which sample is read, and the events that change either.

class Browser {
  constructor(index, notes) {
    this.index = index;
    this.notes = notes;
    this.rows = []; // that the filters leave
    this.row = null; // that is read
    this.place = 0; // of it in rows; -1 where the filters hide it
    this.showsAll = !index.blurred;
    this.queries = 0; // counts changes of the filters, so that an outdated search ends
    this.drawings = 0; // counts samples that were opened, so that an outdated one is not shown
    this.list = new SampleList(index, notes);
    this.beside = new Beside(index);
    this.article = document.getElementById("sample");
    this.isWriting = false; // the editor of notes is open
    this.kept = null; // the row that stays open when the filters are cleared
  }

  async start() {
    this.fillFilters();
    this.fillLabels();
    this.nameReveal();
    this.listen();
    const id = sampleInAddress();
    await this.filter(null, null);
    if (id !== null) await this.openById(id);
  }

  // --- filters

  fillFilters() {
    const { settings, categories, judges, outcome, kind } = this.index;
    const each = (names) => [...new Set(names)].map((name) => [name, name]);
    options("by-setting", "all", settings.map((name, code) => [code, name]));
    options("by-category", "all", categories.map((name, code) => [code, name]).sort(([, a], [, b]) => (a < b ? -1 : 1)));
    options("by-outcome", "all", each(outcome));
    options("by-judge", "any", each(judges.map(({ judge }) => judge)));
    options("by-part", "any", each(judges.map(({ part }) => part ?? "all")));
    options("by-verdict", "any", LETTERS[kind].map((letter) => [letter, DECISIONS[letter]]));
    if (isStudy(this.index)) {
      document.getElementById("disagree-name").textContent = "Differs from the label";
      document.getElementById("key-beside").hidden = true;
    }
    if (kind === "grade") {
      document.getElementById("verdict-name").textContent = "Grade";
      for (const id of ["by-judge", "disagree"]) document.getElementById(id).closest("label").hidden = true;
    }
    if (kind === "grade" || isStudy(this.index)) {
      for (const id of ["by-setting", "by-category", "by-outcome", "by-part"]) hideWithoutChoice(id);
    }
  }

  fillLabels() {
    const labels = this.notes.labels().map((label) => [`label ${label}`, label]);
    const chosen = document.getElementById("by-note").value;
    options("by-note", "any", [["with", "with a note"], ["without", "without a note"], ...labels]);
    document.getElementById("by-note").value = chosen;
    if (document.getElementById("by-note").selectedIndex < 0) document.getElementById("by-note").value = "";
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
    const note = document.getElementById("by-note").value;
    if (note === "with") wanted.note = (row) => this.notes.ofRow(row) !== null;
    else if (note === "without") wanted.note = (row) => this.notes.ofRow(row) === null;
    else if (note !== "") wanted.note = (row) => `label ${this.notes.ofRow(row)?.label}` === note;
    return wanted;
  }

  // Opens the first sample that is left, or `row` if it is among them.
  async filter(row = null, visit = "follow") {
    const query = (this.queries += 1);
    this.list.setBusy(true);
    const words = document.getElementById("search").value;
    let rows = rowsWanted(this.index, this.wanted());
    if (words !== "") {
      const progress = (done, of) => this.showStatus(`Searching, ${Math.round((100 * done) / of)}%…`);
      rows = await rowsWithWords(this.index, rows, words, progress, () => query !== this.queries);
      if (rows === null) return;
    }
    this.rows = rows;
    this.showStatus(`${rows.length.toLocaleString("en")} of ${this.index.setting.length.toLocaleString("en")} samples`);
    const place = Math.max(0, row === null ? 0 : rows.indexOf(row));
    await this.open(rows[place] ?? null, place, visit);
    if (query === this.queries) this.list.setBusy(false);
  }

  showStatus(words) {
    document.getElementById("found").textContent = words;
  }

  // --- which sample is read

  // `visit` is that of `putInAddress`; null leaves the address as it is.
  async open(row, place, visit) {
    this.row = row;
    this.place = place;
    this.isWriting = false;
    this.list.draw(this.rows, place, this.showsAll);
    await this.drawSample(visit);
  }

  // Go to a place in the rows, as near as there is one.
  async go(place, visit = "step") {
    const wanted = Math.max(0, Math.min(this.rows.length - 1, place));
    if (this.rows.length === 0 || wanted === this.place) return;
    const isSamePage = Math.floor(wanted / ROWS_A_PAGE) === Math.floor(Math.max(0, this.place) / ROWS_A_PAGE);
    this.row = this.rows[wanted];
    this.place = wanted;
    this.isWriting = false;
    if (isSamePage) this.list.mark(wanted);
    else this.list.draw(this.rows, wanted, this.showsAll);
    await this.drawSample(visit);
  }

  async openRow(row, visit = "choose") {
    await this.open(row, this.rows.indexOf(row), visit);
  }

  // The sample of the address, also one that the filters hide.
  async openById(id) {
    const row = (await sampleIds()).rowOf(id);
    document.getElementById("samples").scrollIntoView();
    if (row !== undefined) {
      await this.openRow(row, null);
    } else {
      this.row = null;
      this.place = -1;
      this.list.draw(this.rows, -1, this.showsAll);
      fill(this.article, [
        make("p", { class: "caveat" }, "This page has no sample ", isolated(id), ". Fix: open the report of its run."),
      ]);
    }
    this.article.focus({ preventScroll: true });
  }

  async drawSample(visit = null) {
    const { row } = this;
    const drawing = (this.drawings += 1);
    if (row === null) {
      fill(this.article, [make("p", { class: "empty" }, "No sample fits the filters.")]);
      return;
    }
    const sample = await textsOf(this.index, row);
    const panel = this.beside.isOn
      ? await this.beside.panel(row, this.showsAll, (other) => this.openRow(other), (id) => this.redrawBeside(id))
      : null;
    const isWriting = this.isWriting || this.notes.ofRow(row) !== null;
    const id = isWriting || visit !== null ? (await sampleIds()).of(row) : null; // the page opens without any id
    if (drawing !== this.drawings) return; // the reader has opened another sample, or changed what is shown
    fill(this.article, [
      this.place < 0 ? this.hiddenWords() : null,
      sampleHeader(this.index, row),
      this.tools(row, isWriting),
      isWriting ? noteEditor(this.notes, id, () => this.noteChanged(row)) : null,
      panel === null ? this.whole(row, sample) : [this.shared(sample), panel],
    ]);
    this.article.scrollTop = 0;
    if (panel !== null) showOpenColumn(panel);
    if (visit !== null) putInAddress(id, visit);
  }

  whole(row, sample) {
    const { index } = this;
    if (sample === null) return [verdictTable(index, row, null), noTexts()];
    const texts = TEXTS.map(([key, name]) => textBlock(sample[key], name, this.showsAll));
    return [verdictTable(index, row, sample), texts, factList(index, row, sample)];
  }

  // The texts that all samples of the prompt have in common.
  shared(sample) {
    const texts = TEXTS.filter(([of]) => OF_PROMPT.includes(of));
    return sample === null ? null : texts.map(([of, name]) => textBlock(sample[of], name, this.showsAll));
  }

  hiddenWords() {
    const button = make("button", { type: "button" }, "Clear the filters");
    button.addEventListener("click", () => {
      this.kept = this.row;
      document.getElementById("filters").reset();
      this.list.element.focus();
    });
    return make("p", { class: "caveat" }, "The filters hide this sample. ", button);
  }

  tools(row, isWriting) {
    const place = make("span", { role: "status" });
    const tool = (name, key, action, pressed) => {
      const button = make("button", { type: "button", "aria-keyshortcuts": key, "aria-pressed": pressed }, name);
      button.addEventListener("click", action);
      return button;
    };
    return make(
      "div",
      { class: "tools" },
      tool("Copy link", "l", async () => copyLink((await sampleIds()).of(row), place)),
      isStudy(this.index) ? null : tool("Side by side", "c", () => this.toggleBeside(), String(this.beside.isOn)),
      isWriting ? null : tool("Write a note", "n", () => this.writeNote()),
      place,
    );
  }

  // --- what the reader does with it

  toggleTexts() {
    toggleTexts(this.article);
  }

  async toggleBeside() {
    if (isStudy(this.index)) return;
    const hadFocus = this.article.contains(document.activeElement);
    this.beside.isOn = !this.beside.isOn;
    await this.drawSample();
    if (hadFocus) this.article.querySelector("[aria-keyshortcuts=c]")?.focus();
  }

  // After a choice in the panel: the control of this id has the focus again.
  async redrawBeside(id) {
    const { scrollTop } = this.article;
    await this.drawSample();
    this.article.scrollTop = scrollTop;
    document.getElementById(id)?.focus({ preventScroll: true });
  }

  async writeNote() {
    this.isWriting = true;
    if (document.getElementById("note-text") === null) await this.drawSample();
    document.getElementById("note-text")?.focus();
  }

  copyLink() {
    this.article.querySelector("[aria-keyshortcuts=l]")?.click();
  }

  noteChanged(row) {
    this.list.redrawMarks(row);
    this.fillLabels();
  }

  // Notes of any samples have changed.
  notesChanged() {
    this.fillLabels();
    this.list.draw(this.rows, this.place, this.showsAll);
    this.drawSample();
  }

  nameReveal() {
    const button = document.getElementById("reveal-all");
    button.setAttribute("aria-pressed", String(this.showsAll));
    button.textContent = this.showsAll ? "Blur all texts" : "Show all texts";
  }

  async toggleAll() {
    this.showsAll = !this.showsAll;
    this.nameReveal();
    this.list.draw(this.rows, this.place, this.showsAll);
    await this.drawSample();
  }

  listen() {
    const filters = document.getElementById("filters");
    let pause = 0;
    filters.addEventListener("submit", (event) => event.preventDefault());
    filters.addEventListener("change", (event) => event.target.id !== "search" && this.filter());
    filters.addEventListener("reset", () => {
      this.list.setBusy(true);
      const { kept } = this;
      this.kept = null;
      setTimeout(() => this.filter(kept)); // the controls are reset behind this event
    });
    document.getElementById("search").addEventListener("input", () => {
      this.queries += 1; // a running search is outdated from the first letter on
      this.list.setBusy(true);
      clearTimeout(pause);
      pause = setTimeout(() => this.filter(), 250);
    });
    document.getElementById("previous-page").addEventListener("click", () => this.go(this.place - ROWS_A_PAGE));
    document.getElementById("next-page").addEventListener("click", () => this.go(Math.max(0, this.place) + ROWS_A_PAGE));
    document.getElementById("reveal-all").addEventListener("click", () => this.toggleAll());
    this.list.element.addEventListener("click", (event) => {
      const option = event.target.closest("li");
      if (option) this.go(Number(option.getAttribute("aria-posinset")) - 1, "choose");
    });
    addEventListener("popstate", () => {
      const id = sampleInAddress();
      if (id !== null) this.openById(id);
      else if (location.hash === "") this.go(0, null);
    });
    this.notes.listen(() => this.notesChanged());
  }
}

// Hide a select that has one value beside `all`.
function hideWithoutChoice(id) {
  const select = document.getElementById(id);
  select.closest("label").hidden = select.options.length < 3;
}

// Fill a select: `all` first, whose value is empty, then [value, name] pairs.
function options(id, all, pairs) {
  const drawn = pairs.map(([value, name]) => make("option", { value }, inertLine(name)));
  fill(document.getElementById(id), [make("option", { value: "" }, all), drawn]);
}
