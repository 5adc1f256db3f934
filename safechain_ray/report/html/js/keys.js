// The keys of the sample browser; they leave text fields, other controls and the rest of the page alone.

function listenToKeys(browser) {
  const help = document.getElementById("help");
  const search = document.getElementById("search");
  const { article } = browser;
  const list = browser.list.element;

  document.getElementById("help-open").addEventListener("click", () => help.showModal());
  document.getElementById("help-close").addEventListener("click", () => help.close());

  const anywhere = {
    "/": () => search.focus(),
    "?": () => help.showModal(),
  };
  const reading = {
    j: () => browser.go(browser.place + 1),
    k: () => browser.go(browser.place - 1),
    b: () => browser.toggleTexts(),
    c: () => browser.toggleBeside(),
    l: () => browser.copyLink(),
    n: () => browser.writeNote(),
  };
  const inList = {
    ArrowDown: reading.j,
    ArrowUp: reading.k,
    PageDown: () => browser.go(browser.place + ROWS_A_PAGE),
    PageUp: () => browser.go(browser.place - ROWS_A_PAGE),
    Home: () => browser.go(0),
    End: () => browser.go(browser.rows.length - 1),
    Enter: () => article.focus(),
  };
  const inArticle = { Escape: () => list.focus() };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]") !== null) return;
    const at = document.activeElement;
    if (at === search && event.key === "Escape") {
      list.focus();
      return;
    }
    if (event.key === "Escape" && at.id.startsWith("note-")) {
      article.focus();
      return;
    }
    if (at.matches("input, select, textarea")) return;
    const within = at === document.body || document.getElementById("browser").contains(at);
    const action =
      anywhere[event.key] ??
      (within ? reading[event.key] : undefined) ??
      (at === list ? inList[event.key] : undefined) ??
      (article.contains(at) ? inArticle[event.key] : undefined);
    if (action === undefined) return;
    event.preventDefault();
    action();
  });
}
