// @ts-check
// Sorting, filtering and views of the tables of a report, and a comparison of pictures; all content is shown without.
"use strict";

/** @template {Element} T @param {string} selector @param {ParentNode} [root] @returns {T[]} */
const findAll = (selector, root = document) => /** @type {T[]} */ ([...root.querySelectorAll(selector)]);

/** @template {Element} T @param {string} selector @param {ParentNode} [root] @returns {T} */
const find = (selector, root = document) => /** @type {T} */ (root.querySelector(selector));

/** @param {string} tag @param {Record<string, string>} attributes @param {string} [text] @returns {HTMLElement} */
const createElement = (tag, attributes, text = "") => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
};

/** The smallest side, in pixels of the screen, of the pictures that a slider compares. */
const COMPARED_SIDE = 256;

// The filter, which is kept in the fragment of the URL: it hides rows of tables, and rows of pictures by their name.

/** @type {HTMLFormElement | null} */
const form = document.querySelector("#filter");

/** @param {string} query */
const filter = (query) => {
  const text = query.toLowerCase();
  for (const row of findAll("table.board tbody tr, .pictures li, .vectors li")) {
    const name = row.querySelector("bdi");
    // Rows without a name, such as the clean image, are always shown.
    const label = row instanceof HTMLTableRowElement ? `${row.textContent} ${name?.title}` : name?.textContent;
    row.classList.toggle("out", Boolean(name) && !(label ?? "").toLowerCase().includes(text));
  }
  const first = find("table.board");
  const count = `${findAll("tbody tr:not(.out)", first).length} of ${findAll("tbody tr", first).length} rows`;
  find("#found").textContent = query ? count : "";
  history.replaceState(null, "", location.href.split("#")[0] + (query ? `#${new URLSearchParams({ q: query })}` : ""));
};

// Tables: a click on a heading sorts, and buttons choose the view, which is a set of columns.

/** @param {HTMLTableRowElement} row @param {number} column @returns {string | number | null} */
const sortKey = (row, column) => {
  const cell = row.cells[column];
  const text = cell.dataset.v ?? (cell.textContent ?? "").trim().replace("−", "-");
  if (text === "" || text === "–") return null;
  const number = Number.parseFloat(text.replace(/^[≤+]/, ""));
  return cell.tagName === "TH" || Number.isNaN(number) ? text : number;
};

/** @param {HTMLTableElement} table @param {HTMLTableCellElement} head */
const sort = (table, head) => {
  // Ranks and texts ascend at first, other numbers descend.
  const isAscendingFirst = head.classList.contains("left") || head.textContent === "rank";
  const previous = head.getAttribute("aria-sort");
  const first = isAscendingFirst ? "ascending" : "descending";
  const order = previous ? (previous === "descending" ? "ascending" : "descending") : first;
  for (const other of findAll("th", /** @type {Element} */ (head.parentNode))) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row, index) => ({ row, index, key: sortKey(row, head.cellIndex) }));
  const sign = order === "ascending" ? 1 : -1;
  keyed.sort((a, b) => {
    // Rows without a value stay last.
    if (a.key === null || b.key === null) return Number(a.key === null) - Number(b.key === null) || a.index - b.index;
    const difference =
      typeof a.key === "string" ? a.key.localeCompare(String(b.key), undefined, { numeric: true }) : a.key - Number(b.key);
    return sign * difference || a.index - b.index;
  });
  body.append(...keyed.map(({ row }) => row));
};

/** @param {HTMLTableElement} table */
const prepareTable = (table) => {
  for (const head of /** @type {HTMLTableCellElement[]} */ (findAll("thead th", table))) {
    const button = createElement("button", { type: "button" }, head.textContent ?? "");
    head.replaceChildren(button);
    button.addEventListener("click", () => sort(table, head));
  }
  /** @type {string[]} */
  const views = JSON.parse(table.dataset.views ?? "[]");
  if (views.length < 2) return;
  const bar = createElement("div", { class: "views", role: "group", "aria-label": "columns" }, "Columns: ");
  const buttons = views.map((name) => {
    const button = createElement("button", { type: "button" }, name);
    button.addEventListener("click", () => show(name));
    return button;
  });
  const heads = /** @type {HTMLElement[]} */ (findAll("thead th", table));
  /** @param {string} view */
  const show = (view) => {
    const isShown = heads.map((head) => head.textContent === "entrant" || JSON.parse(head.dataset.views ?? "[]").includes(view));
    for (const row of table.rows) [...row.cells].forEach((cell, index) => (cell.hidden = !isShown[index]));
    buttons.forEach((button, index) => button.setAttribute("aria-pressed", String(views[index] === view)));
    /** @type {HTMLElement} */ (table.parentElement).scrollLeft = 0;
  };
  show(views[0]);
  bar.append(...buttons);
  table.parentElement?.before(bar);
};

// A slider that compares two pictures, one laid over the other.

/** @param {string} text @param {string} name @param {[string, string][]} options @param {string} chosen */
const makeSelect = (text, name, options, chosen) => {
  const label = createElement("label", {}, `${text} `);
  const select = /** @type {HTMLSelectElement} */ (createElement("select", { "aria-label": name }));
  for (const [value, option] of options) select.append(new Option(option, value, false, value === chosen));
  label.append(select);
  return { label, select };
};

/** @param {HTMLElement} pictures The pictures of a dataset at one noise level. */
const prepareSlider = (pictures) => {
  /** @type {{name: string, figures: Element[]}[]} The clean images, the noisy images, and the images of each entrant. */
  const choices = findAll("li", pictures).flatMap((row, index) => {
    const figures = findAll("figure", row);
    const every = [0, 1].map((parity) => figures.filter((_, number) => number % 2 === parity));
    if (index === 0) return ["clean", "noisy"].map((name, parity) => ({ name, figures: every[parity] }));
    return [{ name: find("bdi", row).textContent ?? "", figures: every[0] }];
  });
  if (choices.length < 3) return;
  /** @type {[string, string][]} */
  const options = choices.map(({ name }, index) => [String(index), name]);
  const sides = ["A", "B"].map((side, index) => makeSelect(side, `picture ${side}`, options, String(index ? 2 : 1)));
  /** @type {[string, string][]} */
  const numbers = choices[0].figures.map((_, index) => [String(index), String(index + 1)]);
  const image = makeSelect("image", "test image", numbers, "0");
  const badges = ["A", "B"].map((side) => createElement("span", { class: `badge ${side}` }));
  const attributes = { type: "range", min: "0", max: "100", value: "50", "aria-label": "share of A, from the left" };
  const range = /** @type {HTMLInputElement} */ (createElement("input", attributes));
  const stack = createElement("div", { class: "stack" });
  const cut = () => {
    stack.style.setProperty("--cut", `${range.value}%`);
    const over = /** @type {HTMLElement} */ (find(".over", stack));
    over.style.clipPath = `inset(0 0 0 ${range.value}%)`;
  };
  const draw = () => {
    const copies = sides.map(({ select }, index) => {
      const { name, figures } = choices[Number(select.value)];
      const figure = figures[Number(image.select.value)];
      const copy = /** @type {HTMLImageElement} */ (find("img", figure).cloneNode());
      const scale = Math.ceil(COMPARED_SIDE / Math.max(copy.width, copy.height));
      [copy.width, copy.height] = [scale * copy.width, scale * copy.height];
      const caption = find("figcaption", figure).textContent ?? "";
      badges[index].textContent = `${"AB"[index]} ${caption}`;
      copy.alt = `${"AB"[index]}: ${name}, ${caption}`;
      copy.draggable = false;
      return copy;
    });
    copies[1].classList.add("over");
    stack.replaceChildren(...copies, ...badges);
    cut();
  };
  range.addEventListener("input", cut);
  for (const { select } of [...sides, image]) select.addEventListener("change", draw);
  stack.addEventListener("pointermove", (event) => {
    if (event.pointerType === "mouse" && !event.buttons) return;
    const box = stack.getBoundingClientRect();
    range.value = String((100 * (event.clientX - box.left)) / box.width);
    cut();
  });
  const slider = createElement("div", { class: "slider", role: "group", "aria-label": "comparison of two pictures" });
  const more = choices[0].figures.length > 1 ? [image.label] : [];
  slider.append(sides[0].label, sides[1].label, stack, range, ...more);
  pictures.prepend(slider);
  draw();
};

// Set up all parts of the page.

if (form) {
  /** @type {HTMLInputElement} */
  const query = find("[name=q]", form);
  form.hidden = false;
  query.value = new URLSearchParams(location.hash.slice(1)).get("q") ?? "";
  query.addEventListener("input", () => filter(query.value));
  form.addEventListener("reset", () => filter(""));
  form.addEventListener("submit", (event) => event.preventDefault());
  if (query.value) filter(query.value);
}
for (const link of /** @type {HTMLAnchorElement[]} */ (findAll('a[href^="#"]')))
  link.addEventListener("click", (event) => {
    const target = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (!target) return;
    // The fragment of the URL keeps the filter.
    event.preventDefault();
    for (const details of findAll("details")) if (details.contains(target)) details.setAttribute("open", "");
    target.tabIndex = -1;
    target.focus({ preventScroll: true });
    target.scrollIntoView();
  });
addEventListener("beforeprint", () => findAll("details.dataset").forEach((details) => details.setAttribute("open", "")));
findAll("table.board").forEach((table) => prepareTable(/** @type {HTMLTableElement} */ (table)));
findAll(".pictures").forEach((pictures) => prepareSlider(/** @type {HTMLElement} */ (pictures)));
