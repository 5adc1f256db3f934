// Notes as files: JSON Lines and CSV, written and read. A cell of CSV never starts a formula of a spreadsheet.

const NOTE_COLUMNS = ["sample_id", "setting_id", "prompt_id", "label", "note", "time"];

class NoteFileError extends Error {}

function jsonLines(records) {
  return records.map((record) => `${JSON.stringify(record)}\n`).join("");
}

// Starts a formula, as it is or once a spreadsheet has removed quotes and spaces.
const FORMULA = /^'*(\s*[=+\-@＝＋－＠]|[\t\r\n])/;

// An apostrophe makes a text of a formula; `unguarded` takes away the one that was added.
function guarded(text) {
  return FORMULA.test(text) ? `'${text}` : text;
}

function unguarded(text) {
  return text.startsWith("'") && FORMULA.test(text.slice(1)) ? text.slice(1) : text;
}

// With a byte order mark, by which spreadsheets know UTF-8.
function csv(records) {
  const quoted = (text) => `"${guarded(text).replaceAll('"', '""')}"`;
  const rows = [NOTE_COLUMNS, ...records.map((record) => NOTE_COLUMNS.map((name) => record[name]))];
  return `\ufeff${rows.map((row) => `${row.map(quoted).join(",")}\r\n`).join("")}`;
}

// Records with the texts sample_id, label, note and time. Throws NoteFileError for another file.
function readNotes(text) {
  const plain = text.replace(/^\ufeff/, "");
  return plain.trimStart().startsWith("{") ? readJsonLines(plain) : readCsv(plain);
}

function readJsonLines(text) {
  const records = [];
  for (const [at, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    let value;
    try {
      value = JSON.parse(line);
    } catch {
      throw new NoteFileError(`Line ${at + 1} is not JSON.`);
    }
    records.push(asRecord(value ?? {}, `Line ${at + 1}`));
  }
  return records;
}

function readCsv(text) {
  const first = text.split(/\r\n|\n|\r/, 1)[0];
  const separator = [",", ";", "\t"].find((each) => {
    const names = first.split(each).map((name) => name.trim().replace(/^"(.*)"$/, "$1"));
    return names.includes("sample_id") && names.includes("note");
  });
  if (separator === undefined) throw new NoteFileError("The first line names no column sample_id or note.");
  const [head, ...rows] = csvRows(text, separator);
  return rows.map((row, at) => {
    const named = Object.fromEntries(head.map((name, column) => [name.trim(), unguarded(row[column] ?? "")]));
    return asRecord(named, `Row ${at + 1}`);
  });
}

// Cells of CSV by rows; quoted ones may hold separators, line ends and doubled quotes. Empty lines are left out.
function csvRows(text, separator) {
  const rows = [];
  let row = [];
  const cell = new RegExp(`(?:"([^"]*(?:""[^"]*)*)"|([^"${separator}\\r\\n]*))(${separator}|\\r\\n|\\n|\\r|$)`, "y");
  while (cell.lastIndex < text.length) {
    const at = cell.lastIndex;
    const found = cell.exec(text);
    if (found === null) {
      throw new NoteFileError(`A quote is out of place after “${text.slice(Math.max(0, at - 20), at).trim()}”.`);
    }
    row.push(found[1]?.replaceAll('""', '"') ?? found[2]);
    if (found[3] === separator && cell.lastIndex < text.length) continue;
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
  }
  return rows;
}

// As this page writes it. Other forms are ambiguous: a spreadsheet writes days and months in the order of its language.
const TIME_OF_NOTE = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/;

// Milliseconds for comparing; an unknown time is older than all others.
function noteMoment(time) {
  const moment = typeof time === "string" && TIME_OF_NOTE.test(time) ? Date.parse(time) : NaN;
  return Number.isNaN(moment) ? -Infinity : moment;
}

// `time` is empty where it is unknown.
function asRecord({ sample_id: id, label = "", note = "", time = "" }, where) {
  if (typeof id !== "string" || id === "") throw new NoteFileError(`${where} has no sample_id.`);
  if (typeof label !== "string" || typeof note !== "string") {
    throw new NoteFileError(`${where} has a label or a note that is no text.`);
  }
  return { id, label, note, time: noteMoment(time) === -Infinity ? "" : time };
}
