// Samples of one prompt side by side: the K samples of a setting, or the same prompt in every setting.

const OF_PROMPT = ["prompt", "reference"]; // texts that all columns have in common

const WAYS = [["samples", "samples of this prompt and setting"], ["settings", "this prompt in every setting"]];

const COLUMNS = 8; // shown at first; the reader may choose more

class Beside {
  constructor(index) {
    this.index = index;
    this.isOn = false;
    this.by = "samples";
    this.chosen = { samples: new Map(), settings: new Map() }; // column to whether it shows, where the reader chose
  }

  // Pairs of a column's key and its row: sample numbers of this setting, or settings with this or their first sample.
  columns(row, by = this.by) {
    const { prompt, setting, index } = this.index;
    const found = new Map();
    for (let other = prompt.indexOf(prompt[row]); other >= 0; other = prompt.indexOf(prompt[row], other + 1)) {
      if (by === "samples" && setting[other] === setting[row]) found.set(index[other], other);
      if (by === "settings" && (index[other] === index[row] || !found.has(setting[other]))) {
        found.set(setting[other], other);
      }
    }
    return [...found];
  }

  isShown(key, place) {
    return this.chosen[this.by].get(key) ?? place < COLUMNS;
  }

  name(key) {
    return this.by === "samples" ? `sample ${key + 1}` : inertLine(this.index.settings[key]);
  }

  // The panel. `open(row)` opens a sample, `redraw()` draws the panel again after a choice.
  async panel(row, showsAll, open, redraw) {
    const ways = WAYS.filter(([by]) => by === "samples" || this.columns(row, by).length > 1);
    if (!ways.some(([by]) => by === this.by)) this.by = "samples";
    const columns = this.columns(row);
    const shown = columns.filter(([key], place) => this.isShown(key, place));
    const samples = await Promise.all(shown.map(([, other]) => textsOf(this.index, other)));
    const drawn = shown.map(([key, other], at) => this.column(key, other, samples[at], other === row, showsAll, open));
    return make(
      "section",
      { class: "beside", "aria-label": "Side by side" },
      this.choices(ways, columns, redraw),
      make("div", { class: "columns", tabindex: "0", role: "region", "aria-label": "Samples side by side" }, drawn),
    );
  }

  choices(ways, columns, redraw) {
    const options = ways.map(([value, name]) => make("option", { value, selected: value === this.by }, name));
    const by = make("select", { id: "beside-by" }, options);
    by.addEventListener("change", () => {
      this.by = by.value;
      redraw("beside-by");
    });
    const boxes = columns.map(([key], place) => {
      const box = make("input", { type: "checkbox", id: `column${place}`, checked: this.isShown(key, place) });
      box.addEventListener("change", () => {
        this.chosen[this.by].set(key, box.checked);
        redraw(box.id);
      });
      return make("label", {}, box, " ", this.name(key));
    });
    return make(
      "div",
      { class: "choices" },
      ways.length > 1 ? make("label", {}, "Compare ", by) : "",
      make("fieldset", {}, make("legend", { class: "unseen-caption" }, "Columns"), boxes),
    );
  }

  column(key, row, sample, isOpen, showsAll, open) {
    const { index } = this;
    const name = make("h4", {}, this.name(key));
    const button = make("button", { type: "button", class: "quiet", "aria-label": `Open ${this.name(key)}` }, "Open");
    button.addEventListener("click", () => open(row));
    const verdicts = index.judges.map((judge, at) =>
      make("li", {}, verdictPill(index.verdicts[row][at]), " ", raterName(judge)),
    );
    const texts =
      sample === null
        ? noTexts()
        : TEXTS.filter(([of]) => !OF_PROMPT.includes(of)).map(([of, title]) =>
            textBlock(sample[of], title, showsAll, "h5"),
          );
    return make(
      "section",
      { class: isOpen ? "column open" : "column", "data-row": row, "aria-label": this.name(key) },
      make("header", {}, name, isOpen ? make("span", { class: "empty" }, "open") : button),
      make(
        "p",
        {},
        this.by === "settings" ? `sample ${index.index[row] + 1} · ` : "",
        make("span", { class: `pill ${index.outcome[row]}` }, index.outcome[row]),
      ),
      make("ul", {}, verdicts),
      texts,
    );
  }
}

// Scrolls the columns so far that the sample that is read is among those that show.
function showOpenColumn(panel) {
  const columns = panel.querySelector(".columns");
  const open = columns.querySelector(".open");
  if (open !== null) columns.scrollLeft = open.offsetLeft + open.offsetWidth - columns.clientWidth;
}
