// Starts what the page has: plots to save, a switch between dark and light, tables to sort, definitions, the samples.

function listenToScheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  document.getElementById("scheme").addEventListener("click", () => {
    const { dataset } = document.documentElement;
    const shown = dataset.scheme ?? (dark.matches ? "dark" : "light");
    dataset.scheme = shown === "dark" ? "light" : "dark";
  });
}

// A file that was cut off lacks its last chunks. Any other error is a bug of this page.
function reportErrors() {
  window.addEventListener("unhandledrejection", ({ reason }) => {
    document.getElementById("found").textContent =
      reason instanceof DamagedError
        ? "The samples can't all be read: this file is damaged or cut off. Fix: run `safechain-ray report RUN --html` again."
        : `This sample can't be shown (${reason}). The run's folder holds it, and the other samples can be read.`;
  });
}

async function start() {
  listenToPlots();
  listenToScheme();
  listenToHeadings();
  new Definitions().listen();
  const data = document.getElementById("index").textContent;
  if (data === "") return;
  reportErrors();
  const index = await unpack(data);
  const notes = new Notes(index.run);
  await notes.read();
  const browser = new Browser(index, notes);
  listenToKeys(browser);
  new NoteDialog(browser).listen();
  await browser.start();
}

start();
