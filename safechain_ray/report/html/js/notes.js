// The reader's notes on samples: in the page's memory, and in the browser's storage where it has one for this page.

class Notes {
  constructor(run) {
    this.prefix = `safechain-note/${run}/`;
    this.byId = new Map(); // sample_id to { label, note, time }
    this.ids = null; // of the samples, once there is a note
    this.isStored = true; // false once the browser refused: a file:// page, private mode, no space left
  }

  // Reads what earlier visits stored. An item that is no note is left alone.
  async read() {
    try {
      for (let at = 0; at < localStorage.length; at += 1) {
        const key = localStorage.key(at);
        const note = key.startsWith(this.prefix) ? asNote(localStorage.getItem(key)) : null;
        if (note !== null) this.byId.set(key.slice(this.prefix.length), note);
      }
    } catch {
      this.isStored = false;
    }
    if (this.byId.size > 0) this.ids = await sampleIds();
  }

  of(id) {
    return this.byId.get(id) ?? null;
  }

  ofRow(row) {
    return this.ids === null ? null : this.of(this.ids.of(row));
  }

  // A note without words is deleted.
  async set(id, { label, note, time }) {
    const isEmpty = label === "" && note === "";
    if (isEmpty) this.byId.delete(id);
    else this.byId.set(id, { label, note, time });
    try {
      if (isEmpty) localStorage.removeItem(this.prefix + id);
      else localStorage.setItem(this.prefix + id, JSON.stringify({ label, note, time }));
      this.isStored = true;
    } catch {
      this.isStored = false;
    }
    this.ids ??= await sampleIds();
  }

  labels() {
    return [...new Set([...this.byId.values()].map(({ label }) => label))].filter((label) => label !== "").sort();
  }

  // Calls `changed` when another page of the same run has written a note.
  listen(changed) {
    addEventListener("storage", async ({ key, newValue }) => {
      if (!key?.startsWith(this.prefix)) return;
      const id = key.slice(this.prefix.length);
      const note = newValue === null ? null : asNote(newValue);
      if (note === null) this.byId.delete(id);
      else this.byId.set(id, note);
      this.ids ??= await sampleIds();
      changed();
    });
  }
}

// The note in a stored text, or null: other pages may write into the same storage.
function asNote(text) {
  try {
    const { label, note, time } = JSON.parse(text);
    return [label, note, time].every((each) => typeof each === "string") ? { label, note, time } : null;
  } catch {
    return null;
  }
}

function now() {
  return new Date().toISOString().replace(/\.\d+/, "");
}
