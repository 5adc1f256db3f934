// Foreign text made inert: it only ever becomes text nodes. Characters that could act on a terminal or on the direction
// of reading are shown by name.

const UNSEEN =
  /([\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]|\udb40[\udc00-\udc7f])\1*/g;

const NAMES = { 0: "NUL", 7: "BEL", 8: "BS", 13: "CR", 27: "ESC", 0x202e: "RLO", 0x202d: "LRO", 0x202c: "PDF" };

const MOST_NAMES = 2_000; // of unseen characters in one text: each is an element, and a page holds only so many

// Children are nodes, strings, null or arrays of them. A function takes some 100,000 arguments at most, and a text of
// one sample may have more parts: so arrays are never spread into a call.
function make(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") node.className = value;
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(key, value);
  }
  return fill(node, children);
}

// Replaces what the node has.
function fill(node, children) {
  node.textContent = "";
  for (const child of children.flat(Infinity)) {
    if (child !== null) node.append(child); // strings become text nodes
  }
  return node;
}

// Pairs of text that shows and the name of what does not, in order: `a` and ESC, `[31m` and "".
function* cut(text) {
  let end = 0;
  for (const found of text.matchAll(UNSEEN)) {
    yield [text.slice(end, found.index), unseenName(found)];
    end = found.index + found[0].length;
  }
  yield [text.slice(end), ""];
}

// Text nodes and elements with names of unseen characters: `a`, <span class="unseen">ESC</span>, `[31m`. Behind the
// first names unseen characters are left out and counted.
function inert(text) {
  const nodes = [];
  let names = 0;
  let rest = "";
  for (const [shown, name] of cut(text)) {
    if (names < MOST_NAMES) nodes.push(shown, name === "" ? "" : unseen(name));
    else rest += shown;
    if (name !== "") names += 1;
  }
  nodes.push(rest);
  const left = names - MOST_NAMES;
  if (left > 0) nodes.push(unseen(`${left.toLocaleString("en")} more characters that do not show`));
  return nodes.filter((node) => node !== "");
}

function unseen(name) {
  return make("span", { class: "unseen", title: "a character that does not show" }, name);
}

function unseenName([run, one]) {
  const code = one.codePointAt(0);
  const name = NAMES[code] ?? `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
  const times = run.length / one.length;
  return times > 1 ? `${name}×${times}` : name;
}

// A line of foreign text within our own, isolated so that it can't change the direction of the text around it.
function isolated(text, properties = {}) {
  return make("bdi", properties, inert(text));
}

// The same for places that take a string alone: options of a select, titles, labels.
function inertLine(text) {
  let line = "";
  for (const [shown, name] of cut(text)) line += name === "" ? shown : `${shown}‹${name}›`;
  return line;
}
