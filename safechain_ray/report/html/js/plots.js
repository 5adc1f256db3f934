// Saving a plot: the drawing with its colours written out, as SVG, or as PNG by way of a canvas.

const DRAWN = [
  "fill", "stroke", "stroke-width", "stroke-linecap", "stroke-linejoin", "opacity", "fill-opacity",
  "font-family", "font-size", "font-weight", "font-variant-numeric",
];
const PNG_SCALE = 2;

// The plot as a file of its own, in the colours that the page shows now.
function standalone(svg) {
  const copy = svg.cloneNode(true);
  const [before, after] = [svg, copy].map((root) => [...root.querySelectorAll("*")]);
  before.forEach((node, place) => {
    const style = getComputedStyle(node);
    for (const name of DRAWN) after[place].setAttribute(name, style.getPropertyValue(name));
    after[place].removeAttribute("class");
    if (node.matches(".touch")) after[place].setAttribute("stroke", "none");
  });
  const paper = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  paper.setAttribute("width", "100%");
  paper.setAttribute("height", "100%");
  paper.setAttribute("fill", getComputedStyle(svg.closest("figure")).backgroundColor);
  copy.querySelector("title").after(paper);
  return new XMLSerializer().serializeToString(copy);
}

async function asPng(svg, source) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(source)}`;
  await image.decode();
  const canvas = make("canvas", {
    width: svg.width.baseVal.value * PNG_SCALE,
    height: svg.height.baseVal.value * PNG_SCALE,
  });
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
  const svg = shown.querySelector("svg");
  const source = standalone(svg);
  const kind = button.dataset.save;
  const blob = kind === "svg" ? new Blob([source], { type: "image/svg+xml" }) : await asPng(svg, source);
  saveAs(blob, `${shown.dataset.name}.${kind}`);
}

function listenToPlots() {
  for (const button of document.querySelectorAll("button[data-save]")) {
    button.addEventListener("click", () => savePlot(button));
  }
}
