// The parts of a sample that is read: heading, verdicts, texts that start blurred, facts.

const TEXTS = [
  ["prompt", "Prompt"],
  ["thought", "Thought"],
  ["answer", "Answer"],
  ["response", "Response"],
  ["error", "Error"],
  ["graded", "Graded text"],
  ["reference", "Reference"],
];

// What the columns of decisions are called, with their terms of the glossary.
const HEADS = {
  verdict: [["judge", "Judge, part"], ["verdict", "Verdict"], ["score", "Score"], ["", "Categories, notes"]],
  grade: [["grade", "Grade"], ["", "Grader, reason"]],
};

const BLURRED = 5_000; // characters of a text that are drawn while it is blurred: more than its box has room for

const wholeTexts = new WeakMap(); // of boxes that hold a start alone

// Each row of a judge study is a labelled response of its own.
function isStudy(index) {
  return index.label !== null;
}

// A judge with the part that it read; the grade of a benchmark has no part.
function raterName({ judge, part }) {
  return [isolated(judge), part === null ? "" : `, ${part}`];
}

function sampleHeader(index, row) {
  const prompt = index.prompt[row];
  const category = index.categories[index.prompts.category[prompt]];
  return make(
    "header",
    {},
    make("h3", {}, isolated(index.prompts.id[prompt]), isStudy(index) ? "" : `, sample ${index.index[row] + 1}`),
    make(
      "p",
      {},
      isolated(index.settings[index.setting[row]]),
      category === "" || (index.kind === "grade" && index.categories.length < 2) ? "" : [" · ", isolated(category)],
      isStudy(index) ? "" : [" · ", make("span", { class: `pill ${index.outcome[row]}` }, index.outcome[row])],
    ),
  );
}

// `sample` is null where its texts were left out of the file; the verdicts are in the index.
function verdictTable(index, row, sample) {
  const lines = index.judges.map((judge, at) => {
    const [score, categories, error, note] = sample?.verdicts[at] ?? [null, [], null, null];
    const notes = make("td", {}, isolated([...categories, error, note].filter((found) => found).join("; ")));
    if (index.kind === "grade") {
      return make("tr", {}, make("th", { scope: "row" }, verdictPill(index.verdicts[row][at])), notes);
    }
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, raterName(judge)),
      make("td", {}, verdictPill(index.verdicts[row][at])),
      make("td", { class: "number" }, score === null ? "" : score.toFixed(3)),
      notes,
    );
  });
  const head = HEADS[index.kind].map(([term, name]) =>
    make("th", { scope: "col", class: term === "score" ? "number" : "" }, termLink(term, name)),
  );
  return make(
    "table",
    { class: "verdicts" },
    make("caption", { class: "unseen-caption" }, index.kind === "grade" ? "Grade" : "Verdicts"),
    make("thead", {}, make("tr", {}, head)),
    make("tbody", {}, lines),
  );
}

function noTexts() {
  return make("p", { class: "empty" }, "The texts of this sample are not in this file; the run's folder holds them.");
}

// `level` is the heading's.
function textBlock(text, name, isShown, level = "h4") {
  if (text === null) return null;
  const body = make("div", { class: "text", dir: "auto", tabindex: "0" }, inert(text.slice(0, BLURRED)));
  if (text.length > BLURRED) wholeTexts.set(body, text);
  if (text === "") body.append(make("em", {}, "empty"));
  const button = make("button", { type: "button", class: "reveal", "data-reveals": name });
  const block = make("section", { class: "block", "aria-label": name }, make(level, {}, name, button), body);
  reveal(block, isShown);
  button.addEventListener("click", () => reveal(block, body.classList.contains("blurred")));
  body.addEventListener("click", () => reveal(block, true));
  return block;
}

function reveal(block, shown) {
  const body = block.querySelector(".text");
  if (shown && wholeTexts.has(body)) {
    fill(body, inert(wholeTexts.get(body)));
    wholeTexts.delete(body);
  }
  body.classList.toggle("blurred", !shown);
  if (shown) body.removeAttribute("aria-hidden");
  else body.setAttribute("aria-hidden", "true");
  body.tabIndex = shown ? 0 : -1;
  const button = block.querySelector("button");
  button.textContent = shown ? "Blur" : "Show";
  button.setAttribute("aria-label", `${shown ? "Blur" : "Show"} the ${button.dataset.reveals.toLowerCase()}`);
}

// All texts within `article`, or, where they show already, none.
function toggleTexts(article) {
  const blocks = [...article.querySelectorAll(".block")];
  const shown = blocks.some((block) => block.querySelector(".blurred") !== null);
  for (const block of blocks) reveal(block, shown);
}

// The id is filled in once the ids are unpacked.
function factList(index, row, sample) {
  const facts = index.facts.map((name, at) => [name, sample.facts[at]]);
  const known = facts.filter(([, value]) => value !== null);
  const named = (name) => termLink(name.replaceAll("_", "-"), name.replaceAll("_", " "));
  const written = (value) => (typeof value === "number" ? value.toLocaleString("en", { useGrouping: value < 1e6 }) : value);
  const fact = (name, ...value) => make("div", {}, make("dt", {}, named(name)), make("dd", {}, value));
  const id = make("bdi");
  sampleIds().then((ids) => fill(id, inert(ids.of(row))));
  return make(
    "dl",
    { class: "facts" },
    fact("sample_id", id),
    known.map(([name, value]) => fact(name, isolated(written(value)))),
  );
}
