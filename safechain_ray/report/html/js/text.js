// Foreign text made inert: it only ever becomes text nodes, and what could act on a terminal or on the direction of
// reading is shown as a name instead.

const UNSEEN =
  /([\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\udb40[\udc00-\udc7f])\1*/g;

const NAMES = { 0: "NUL", 7: "BEL", 8: "BS", 13: "CR", 27: "ESC", 0x202e: "RLO", 0x202d: "LRO", 0x202c: "PDF" };

function make(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") node.className = value;
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null)); // strings become text nodes
  return node;
}

// Text nodes and names of unseen characters, in order: `a`, <span class="unseen">ESC</span>, `[31m`.
function inert(text) {
  const nodes = [];
  let end = 0;
  for (const found of text.matchAll(UNSEEN)) {
    if (found.index > end) nodes.push(text.slice(end, found.index));
    nodes.push(make("span", { class: "unseen", title: "a character that does not show" }, unseenName(found)));
    end = found.index + found[0].length;
  }
  if (end < text.length) nodes.push(text.slice(end));
  return nodes;
}

function unseenName([run, one]) {
  const code = one.codePointAt(0);
  const name = NAMES[code] ?? `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  const times = run.length / one.length;
  return times > 1 ? `${name}×${times}` : name;
}

// A line of foreign text within our own, kept from changing the direction of what stands around it.
function isolated(text, properties = {}) {
  return make("bdi", properties, ...inert(text));
}

// The same for places that take a string alone: options of a select, titles, labels.
function inertLine(text) {
  return inert(text)
    .map((node) => (typeof node === "string" ? node : `‹${node.textContent}›`))
    .join("");
}
