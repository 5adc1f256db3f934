// Starts what the page has: plots to save, a switch between dark and light, the sample browser.

function listenToScheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  document.getElementById("scheme").addEventListener("click", () => {
    const { dataset } = document.documentElement;
    const shown = dataset.scheme ?? (dark.matches ? "dark" : "light");
    dataset.scheme = shown === "dark" ? "light" : "dark";
  });
}

async function start() {
  listenToPlots();
  listenToScheme();
  const data = document.getElementById("index").textContent;
  if (data === "") return;
  const browser = new Browser(await unpack(data));
  listenToKeys(browser);
  await browser.filter();
}

start();
