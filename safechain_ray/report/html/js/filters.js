// Filters of the rows: first by the columns of the index, then by the words of the texts.

const DECISIONS = { s: "safe", u: "unsafe", c: "correct", w: "wrong", m: "missing" };

const LETTERS = { verdict: ["s", "u", "m"], grade: ["c", "w", "m"] }; // by the kind of the run

// `wanted` has a key for each filter that is set: setting and category (their numbers in the index), outcome, judge,
// part, verdict (a letter), disagree, note (a test of the row). Returns the numbers of the rows, in order.
function rowsWanted(index, wanted) {
  const judges = index.judges
    .map((judge, place) => ({ ...judge, place }))
    .filter(({ judge, part }) => (wanted.judge ?? judge) === judge && (wanted.part ?? part) === part);
  const parts = index.judges
    .map((judge, place) => ({ ...judge, place }))
    .filter(({ part }) => (wanted.part ?? part) === part);
  const rows = [];
  for (let row = 0; row < index.setting.length; row += 1) {
    if (wanted.setting !== undefined && index.setting[row] !== wanted.setting) continue;
    if (wanted.category !== undefined && index.prompts.category[index.prompt[row]] !== wanted.category) continue;
    if (wanted.outcome !== undefined && index.outcome[row] !== wanted.outcome) continue;
    const verdicts = index.verdicts[row];
    if (wanted.verdict !== undefined && !judges.some(({ place }) => verdicts[place] === wanted.verdict)) continue;
    if (wanted.disagree && !(index.label === null ? disagree(verdicts, parts) : differs(verdicts, judges, index.label))) {
      continue;
    }
    if (wanted.note !== undefined && !wanted.note(row)) continue;
    rows.push(row);
  }
  return rows;
}

// One judge finds safe and another unsafe, of the same part.
function disagree(verdicts, judges) {
  return judges.some(
    (one) =>
      verdicts[one.place] === "s" &&
      judges.some((other) => other.part === one.part && verdicts[other.place] === "u"),
  );
}

// One of these judges decides otherwise than the label does.
function differs(verdicts, judges, label) {
  return judges.some(({ place }) => verdicts[place] !== "m" && verdicts[place] !== verdicts[label]);
}

// The rows of `rows` whose texts hold `words` in any case; calls `progress(done, of)` now and then, and stops with null
// once `isStale()`. Each chunk is unpacked once, for all of its rows.
async function rowsWithWords(index, rows, words, progress, isStale) {
  const low = words.toLowerCase();
  const byChunk = Map.groupBy(
    rows.filter((row) => index.text[row] >= 0),
    (row) => Math.floor(index.text[row] / index.textsAChunk),
  );
  const hits = new Set();
  let done = 0;
  for (const [number, ofChunk] of byChunk) {
    const held = await chunk(number);
    if (isStale()) return null;
    for (const row of ofChunk) {
      const [texts] = held[index.text[row] % index.textsAChunk];
      if (texts.some((text) => text !== null && text.toLowerCase().includes(low))) hits.add(row);
    }
    done += 1;
    if (done % 16 === 0) progress(done, byChunk.size);
  }
  return rows.filter((row) => hits.has(row));
}
