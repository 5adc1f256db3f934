// The samples: an index by column, unpacked at once; their ids, and texts in chunks, unpacked when they are needed.

const MAX_CACHED_CHUNKS = 512; // 65,536 samples, some hundred megabytes: searching again is then a matter of moments

// The data of this file was cut off or changed after it was written.
class DamagedError extends Error {}

async function unpack(packed) {
  try {
    return await unpacked(packed);
  } catch (error) {
    throw new DamagedError(error.message);
  }
}

function bytesOf(text) {
  return Uint8Array.fromBase64
    ? Uint8Array.fromBase64(text)
    : Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

async function unpacked(packed) {
  const bytes = bytesOf(packed);
  const stream = new DecompressionStream("deflate");
  const writer = stream.writable.getWriter();
  writer.write(bytes);
  writer.close();
  return new Response(stream.readable).json();
}

const wholePage = new Promise((resolve) => {
  if (document.readyState !== "loading") resolve();
  else document.addEventListener("DOMContentLoaded", resolve, { once: true });
});

// The chunks follow this script in the file, so that filters work before the last megabyte is read. A chunk may be only
// half read: it is whole once another element follows.
async function packedChunk(number) {
  const name = `chunk${number}`;
  if (!document.getElementById(name)?.nextElementSibling) await wholePage;
  const element = document.getElementById(name);
  if (element === null) throw new DamagedError(`${name} is missing`);
  return element.textContent;
}

const chunks = new Map(); // in the order of their last use

function chunk(number) {
  const found = chunks.get(number) ?? packedChunk(number).then(unpack);
  chunks.delete(number);
  chunks.set(number, found);
  if (chunks.size > MAX_CACHED_CHUNKS) chunks.delete(chunks.keys().next().value);
  return found;
}

const ID_BYTES = 8;

// The sample_id of each row: eight bytes a row, or a list of texts.
class SampleIds {
  constructor(found) {
    this.found = found;
    this.size = found instanceof Uint8Array ? found.length / ID_BYTES : found.length;
    this.rows = null;
  }

  of(row) {
    if (!(this.found instanceof Uint8Array)) return this.found[row];
    const bytes = this.found.subarray(row * ID_BYTES, (row + 1) * ID_BYTES);
    return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  // The row of a sample, or undefined.
  rowOf(id) {
    this.rows ??= new Map(Array.from({ length: this.size }, (_, row) => [this.of(row), row]));
    return this.rows.get(id);
  }
}

let ids = null;

function sampleIds() {
  if (ids !== null) return ids;
  const text = document.getElementById("ids").textContent;
  ids = Promise.resolve(text.startsWith(".") ? bytesOf(text.slice(1)) : unpack(text)).then(
    (found) => new SampleIds(found),
  );
  return ids;
}

// `graded` is the text that was graded; only benchmarks have one, and a reference.
function asSample([[prompt, thought, answer, response, error, graded = null, reference = null], facts, verdicts]) {
  return { prompt, thought, answer, response, error, graded, reference, facts, verdicts };
}

// The sample of row `row` with its texts, or null where its texts were left out of the file.
async function textsOf(index, row) {
  const number = index.text[row];
  if (number < 0) return null;
  const held = await chunk(Math.floor(number / index.textsAChunk));
  return asSample(held[number % index.textsAChunk]);
}
