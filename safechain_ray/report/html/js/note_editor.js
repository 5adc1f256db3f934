// Writing notes: the editor in the sample that is read, and the dialog that exports and imports them.

const SUGGESTED_LABELS = ["judge is wrong", "unclear", "interesting"];

// The editor of one sample; `changed` is called after each change.
function noteEditor(notes, id, changed) {
  const { label, note } = notes.of(id) ?? { label: "", note: "" };
  const names = [...new Set([...SUGGESTED_LABELS, ...notes.labels()])].map((value) => make("option", { value }));
  const labelField = make("input", { type: "text", id: "note-label", list: "note-labels", maxlength: 80, value: label });
  const noteField = make("textarea", { id: "note-text", rows: 3, spellcheck: "true" });
  noteField.value = note;
  const status = make("p", { class: "legend", role: "status" });
  const save = async () => {
    await notes.set(id, { label: labelField.value.trim(), note: noteField.value, time: now() });
    status.textContent = whereNotesAre(notes);
    changed();
  };
  for (const field of [labelField, noteField]) field.addEventListener("input", save);
  return make(
    "section",
    { class: "note", "aria-label": "Note" },
    make("label", {}, "Label", labelField),
    make("datalist", { id: "note-labels" }, names),
    make("label", {}, "Note", noteField),
    status,
  );
}

function whereNotesAre({ isStored }) {
  return isStored
    ? "Notes are in this browser alone. Export them to share or keep them."
    : "This browser stores no notes for this page. They end with it, so export them.";
}

function download(name, text, type) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

class NoteDialog {
  constructor(browser) {
    this.browser = browser;
    this.notes = browser.notes;
    this.dialog = document.getElementById("notes");
    this.status = document.getElementById("notes-status");
    this.file = document.getElementById("notes-file");
  }

  open() {
    this.status.textContent = "";
    this.draw();
    this.dialog.showModal();
  }

  draw() {
    const count = this.notes.byId.size;
    document.getElementById("notes-count").textContent = `${count.toLocaleString("en")} note${count === 1 ? "" : "s"}.`;
    document.getElementById("notes-where").textContent = whereNotesAre(this.notes);
    for (const kind of ["jsonl", "csv"]) document.getElementById(`notes-${kind}`).disabled = count === 0;
  }

  // Every note with the setting and the prompt of its sample, in the order of the samples.
  async records() {
    const { index } = this.browser;
    const ids = await sampleIds();
    const found = [...this.notes.byId].map(([id, { label, note, time }]) => {
      const row = ids.rowOf(id) ?? Infinity;
      const [setting_id, prompt_id] = [index.settingIds[index.setting[row]], index.prompts.id[index.prompt[row]]];
      return { row, record: { sample_id: id, setting_id: setting_id ?? "", prompt_id: prompt_id ?? "", label, note, time } };
    });
    return found.sort((one, other) => one.row - other.row).map(({ record }) => record);
  }

  async export(kind) {
    const records = await this.records();
    const name = document.title.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 60);
    if (kind === "csv") download(`notes-${name}.csv`, csv(records), "text/csv");
    else download(`notes-${name}.jsonl`, jsonLines(records), "application/jsonl");
  }

  async import(file) {
    let records;
    try {
      records = readNotes(await file.text());
    } catch (error) {
      this.status.textContent = `${inertLine(error.message)} Fix: choose a file that this page exported. No note has changed.`;
      return;
    }
    const ids = await sampleIds();
    const counts = { imported: 0, older: 0, undated: 0, empty: 0, unknown: 0 };
    for (const { id, ...note } of records) {
      const ours = this.notes.of(id);
      if (ids.rowOf(id) === undefined) counts.unknown += 1;
      else if (note.label.trim() === "" && note.note.trim() === "") counts.empty += 1; // it would delete the note here
      else if (ours !== null && noteMoment(ours.time) > noteMoment(note.time)) {
        counts[note.time === "" ? "undated" : "older"] += 1;
      } else {
        await this.notes.set(id, note);
        counts.imported += 1;
      }
    }
    this.status.textContent = importedWords(counts);
    this.draw();
    this.browser.notesChanged();
  }

  listen() {
    document.getElementById("notes-open").addEventListener("click", () => this.open());
    document.getElementById("notes-close").addEventListener("click", () => this.dialog.close());
    document.getElementById("notes-import").addEventListener("click", () => this.file.click());
    for (const kind of ["jsonl", "csv"]) {
      document.getElementById(`notes-${kind}`).addEventListener("click", () => this.export(kind));
    }
    this.file.addEventListener("change", async () => {
      for (const file of [...this.file.files]) await this.import(file);
      this.file.value = ""; // so that the same file can be chosen again
    });
  }
}

function importedWords({ imported, older, undated, empty, unknown }) {
  const words = [`${imported.toLocaleString("en")} imported.`];
  if (older > 0) words.push(`${older.toLocaleString("en")} left out, because the note here is newer.`);
  if (undated > 0) {
    words.push(`${undated.toLocaleString("en")} left out: no readable time says that the file is newer than the note here.`);
  }
  if (empty > 0) words.push(`${empty.toLocaleString("en")} left out, because label and note are empty.`);
  if (unknown > 0) words.push(`${unknown.toLocaleString("en")} left out, because this page has no such sample.`);
  return words.join(" ");
}
