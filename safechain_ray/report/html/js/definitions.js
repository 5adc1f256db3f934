// Definitions of terms: shown beside a name on hover, focus and tap; the glossary at the page's end holds their texts.

const LEAVE_PAUSE = 150; // milliseconds in which the pointer may move from the name onto its definition

// The definition of `link`, or null where the page has no such term.
function meaningOf(link) {
  return document.getElementById(`term-${link.dataset.term}`);
}

// `words` as a link to the term, or as text where the page's glossary lacks it.
function termLink(key, words) {
  if (document.getElementById(`term-${key}`) === null) return words;
  return make(
    "a",
    { class: "term", href: `#term-${key}`, "data-term": key, "aria-describedby": `term-${key}-meaning` },
    words,
  );
}

class Definitions {
  constructor() {
    this.tip = make("div", { id: "definition", popover: "manual", "aria-hidden": "true" });
    this.shown = null; // the link whose definition shows
    this.leaving = 0;
    document.body.append(this.tip);
  }

  show(link) {
    clearTimeout(this.leaving);
    if (link === this.shown) return;
    const entry = meaningOf(link);
    if (entry === null) return;
    this.shown = link;
    const [meaning, source] = entry.querySelectorAll("span");
    fill(this.tip, [
      make("strong", {}, entry.querySelector("dt").textContent),
      make("p", {}, meaning.textContent),
      make("small", {}, source.textContent),
    ]);
    if (!this.tip.matches(":popover-open")) this.tip.showPopover();
    this.place(link);
  }

  // Below the name, or above it where the window ends; never beyond its sides.
  place(link) {
    const name = link.getBoundingClientRect();
    const { width, height } = this.tip.getBoundingClientRect();
    const left = Math.max(8, Math.min(name.left, innerWidth - width - 8));
    const fits = name.bottom + 6 + height <= innerHeight;
    this.tip.style.left = `${left}px`;
    this.tip.style.top = `${fits ? name.bottom + 6 : Math.max(8, name.top - 6 - height)}px`;
  }

  // The name has moved with the page.
  follow() {
    if (this.shown === null) return;
    const { top, bottom } = this.shown.getBoundingClientRect();
    if (bottom < 0 || top > innerHeight) this.hide();
    else this.place(this.shown);
  }

  hide() {
    clearTimeout(this.leaving);
    if (this.shown === null) return;
    this.shown = null;
    this.tip.hidePopover();
  }

  hideSoon() {
    clearTimeout(this.leaving);
    this.leaving = setTimeout(() => this.hide(), LEAVE_PAUSE);
  }

  // The term of an event: the name under the pointer, or the one within the control that has the focus.
  termOf({ target }) {
    const holder = target instanceof Element ? target.closest("a.term, button.sort") : null;
    return holder?.matches("button") ? holder.querySelector(".term") : holder;
  }

  listen() {
    let touched = null; // the name that a finger touched while its definition did not show
    document.addEventListener("pointerover", (event) => {
      if (event.pointerType === "touch") return;
      const link = this.termOf(event);
      if (link !== null) this.show(link);
      else if (this.tip.contains(event.target)) clearTimeout(this.leaving);
      else if (this.shown !== null && !this.shown.contains(document.activeElement)) this.hideSoon();
    });
    document.addEventListener("pointerdown", (event) => {
      const link = this.termOf(event);
      touched = event.pointerType === "touch" && link !== null && link !== this.shown ? link : null;
      if (link === null && !this.tip.contains(event.target)) this.hide();
    });
    // The first tap shows the definition, a second one follows the link.
    document.addEventListener("click", (event) => {
      const link = this.termOf(event);
      if (touched !== null && touched === link) {
        if (link.matches("a")) event.preventDefault();
        this.show(link);
      } else if (link !== null && link.matches("a")) {
        this.hide();
      }
      touched = null;
    });
    document.addEventListener("focusin", (event) => {
      const link = this.termOf(event);
      if (link !== null && event.target.matches(":focus-visible")) this.show(link);
      else if (link === null) this.hide();
    });
    document.addEventListener("focusout", () => this.hideSoon());
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.hide());
    for (const kind of ["scroll", "resize"]) addEventListener(kind, () => this.follow(), { capture: true, passive: true });
  }
}
