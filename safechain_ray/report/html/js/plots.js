// Saving a plot: the picture that shows, with its colours and fonts written out, as SVG, or as PNG by way of a canvas.

const LINES = ["stroke", "stroke-width", "stroke-opacity", "stroke-linecap"];
const FONT = ["font-family", "font-size", "font-weight", "font-variant-numeric"];
// A mark has the fill of its `use`, and the outline of the shape that it refers to.
const RESOLVED = {
  "defs path": LINES,
  use: ["fill"],
  text: ["fill", "paint-order", "stroke", "stroke-width", ...FONT],
  path: ["fill", ...LINES],
};
const PNG_SCALE = 2;
const MARGIN = 16;

// The picture as a file of its own with its size, in the colours that the page shows now.
function standalone(svg) {
  const copy = svg.cloneNode(true);
  const [shown, copied] = [svg, copy].map((root) => [...root.querySelectorAll("path, use, text")]);
  shown.forEach((node, place) => {
    const style = getComputedStyle(node);
    const names = RESOLVED[Object.keys(RESOLVED).find((kind) => node.matches(kind))];
    for (const name of names) copied[place].setAttribute(name, style.getPropertyValue(name));
  });
  for (const node of copy.querySelectorAll(".touch")) node.remove();
  for (const node of [copy, ...copy.querySelectorAll("[class]")]) node.removeAttribute("class");
  copy.removeAttribute("fill");
  const size = { width: svg.viewBox.baseVal.width + 2 * MARGIN, height: svg.viewBox.baseVal.height + 2 * MARGIN };
  setAll(copy, { viewBox: `${-MARGIN} ${-MARGIN} ${size.width} ${size.height}`, ...size });
  const paper = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const fill = getComputedStyle(svg.closest("figure")).backgroundColor;
  setAll(paper, { x: -MARGIN, y: -MARGIN, ...size, fill });
  copy.querySelector("title").after(paper);
  return { source: new XMLSerializer().serializeToString(copy), ...size };
}

function setAll(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
}

async function asPng({ source, width, height }) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(source)}`;
  await image.decode();
  const canvas = make("canvas", { width: width * PNG_SCALE, height: height * PNG_SCALE });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function saveAs(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function savePlot(button) {
  const shown = button.closest("figure");
  const drawing = standalone([...shown.querySelectorAll("svg")].find((svg) => svg.checkVisibility()));
  const kind = button.dataset.save;
  const blob = kind === "svg" ? new Blob([drawing.source], { type: "image/svg+xml" }) : await asPng(drawing);
  saveAs(blob, `${shown.dataset.name}.${kind}`);
}

function listenToPlots() {
  for (const button of document.querySelectorAll("button[data-save]")) {
    button.addEventListener("click", () => savePlot(button));
  }
}
