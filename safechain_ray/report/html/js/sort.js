// Tables sorted by a column: one way, the other way, then the order of the file again. Rows stay within their groups.

const NO_VALUE = /^(|-|–|none|failed)$/; // as the tables write it; always last
const COLLATOR = new Intl.Collator("en", { numeric: true });

const TIME = /^(?:(\d+):)?(\d+):(\d{2})$/; // 47:12, or 2:00:05

// The value of a cell without its interval: a number (seconds of a time), a text, or null where there is none.
function sortValue(cell, isFigure) {
  const first = (cell.querySelector("strong") ?? cell).textContent.split("\n")[0].trim();
  if (NO_VALUE.test(first)) return null;
  if (!isFigure) return first;
  const time = TIME.exec(first);
  if (time !== null) return Number(time[1] ?? 0) * 3600 + Number(time[2]) * 60 + Number(time[3]);
  const number = Number.parseFloat(first.replace(/[,+<$]/g, ""));
  return Number.isNaN(number) ? null : number;
}

function sortCompare(one, other, sign) {
  if (one === null || other === null) return (one === null) - (other === null);
  return sign * (typeof one === "number" ? one - other : COLLATOR.compare(one, other));
}

class SortableTable {
  constructor(table) {
    this.headings = [...table.tHead.rows[0].cells];
    const bodies = [...table.tBodies];
    const single = bodies.every((body) => body.rows.length === 1); // then the groups themselves are the rows
    this.groups = single
      ? [{ parent: table, nodes: bodies, rows: bodies.map((body) => body.rows[0]) }]
      : bodies.map((body) => ({ parent: body, nodes: [...body.rows], rows: [...body.rows] }));
  }

  listen() {
    if (this.groups.every(({ rows }) => rows.length < 2)) return;
    for (const [column, heading] of this.headings.entries()) {
      if (heading.textContent.trim() === "") continue;
      const button = make("button", { type: "button", class: "sort" });
      button.append(...heading.childNodes);
      const link = button.querySelector("a.term"); // no link within a button
      if (link !== null) {
        button.setAttribute("aria-describedby", link.getAttribute("aria-describedby"));
        link.replaceWith(make("span", { class: "term", "data-term": link.dataset.term }, link.textContent));
      }
      heading.append(button);
      button.addEventListener("click", () => this.turn(column));
    }
  }

  // The next of the three orders of this column. Figures start with the largest, names with the first letter.
  turn(column) {
    const heading = this.headings[column];
    const orders = heading.matches(".number") ? ["descending", "ascending"] : ["ascending", "descending"];
    const order = [...orders, null][orders.indexOf(heading.getAttribute("aria-sort")) + 1];
    for (const each of this.headings) each.removeAttribute("aria-sort");
    if (order !== null) heading.setAttribute("aria-sort", order);
    for (const group of this.groups) this.arrange(group, column, order);
  }

  arrange({ parent, nodes, rows }, column, order) {
    const isFigure = this.headings[column].matches(".number");
    const sign = order === "ascending" ? 1 : -1;
    const places = nodes.map((node, place) => [sortValue(rows[place].cells[column], isFigure), node]);
    if (order !== null) places.sort(([one], [other]) => sortCompare(one, other, sign)); // stable
    for (const [, node] of places) parent.append(node);
  }
}

function listenToHeadings() {
  for (const table of document.querySelectorAll("table[data-sortable]")) new SortableTable(table).listen();
}
