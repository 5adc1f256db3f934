// The list of samples in pages: a row for each sample, with its prompt, its place, its marks and its note.

const ROWS_A_PAGE = 50;

class SampleList {
  constructor(index, notes) {
    this.index = index;
    this.notes = notes;
    this.element = document.getElementById("list");
  }

  setBusy(busy) {
    this.element.setAttribute("aria-busy", String(busy));
  }

  // The page that holds `place` of `rows`. A place of -1 is a sample that the list lacks: then the first page.
  draw(rows, place, showsAll) {
    const first = place < 0 ? 0 : place - (place % ROWS_A_PAGE);
    const shown = rows.slice(first, first + ROWS_A_PAGE);
    fill(this.element, shown.map((row, at) => this.option(row, first + at, rows.length, showsAll)));
    const pages = Math.max(1, Math.ceil(rows.length / ROWS_A_PAGE));
    const page = first / ROWS_A_PAGE + 1;
    document.getElementById("page").textContent = `page ${page} of ${pages.toLocaleString("en")}`;
    document.getElementById("previous-page").disabled = page === 1;
    document.getElementById("next-page").disabled = page === pages;
    this.mark(place);
  }

  option(row, place, size, showsAll) {
    const { index } = this;
    const prompt = index.prompt[row];
    const hidden = showsAll ? {} : { class: "blurred", "aria-hidden": "true" };
    return make(
      "li",
      { id: `option${place}`, role: "option", "data-row": row, "aria-posinset": place + 1, "aria-setsize": size },
      make("span", { class: "start" }, isolated(index.prompts.start[prompt], hidden)),
      make(
        "span",
        { class: "where" },
        isolated(index.settings[index.setting[row]]),
        " · ",
        isolated(index.prompts.id[prompt]),
        isStudy(index) ? "" : ` · ${index.index[row] + 1}`,
      ),
      make("span", { class: "marks" }, this.marks(row)),
    );
  }

  marks(row) {
    const { index } = this;
    const outcome = index.outcome[row];
    return [
      noteMark(this.notes.ofRow(row)),
      outcome === "ok" ? null : make("span", { class: `pill ${outcome}` }, outcome),
      index.judges.map(({ judge, part }, at) =>
        verdictPill(index.verdicts[row][at], part === null ? judge : `${judge}, ${part}`),
      ),
    ];
  }

  // The note of this row has changed.
  redrawMarks(row) {
    const option = this.element.querySelector(`[data-row="${row}"] .marks`);
    if (option !== null) fill(option, this.marks(row));
  }

  mark(place) {
    for (const option of this.element.children) {
      option.setAttribute("aria-selected", String(option.id === `option${place}`));
    }
    const current = document.getElementById(`option${place}`);
    if (current === null) {
      this.element.removeAttribute("aria-activedescendant");
      return;
    }
    this.element.setAttribute("aria-activedescendant", current.id);
    const { offsetTop: top, offsetHeight: height } = current;
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    const under = top + height - this.element.clientHeight;
    if (under > this.element.scrollTop) this.element.scrollTop = under;
  }
}

function verdictPill(code, judge = null) {
  const name = DECISIONS[code];
  if (judge === null) return make("span", { class: `pill ${name}` }, name);
  const words = `${inertLine(judge)}: ${name}`;
  return make("span", { class: `dot ${name}`, title: words, role: "img", "aria-label": words }, code === "m" ? "?" : code);
}

function noteMark(note) {
  if (note === null) return null;
  const words = inertLine(note.label || "note");
  return make("span", { class: "pill noted", title: `note: ${inertLine(note.note || note.label)}` }, words);
}
