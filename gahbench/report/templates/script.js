// @ts-check
// Sorting, filtering, highlighting and tooltips of a report, which shows the same content without scripts.
"use strict";

/** @typedef {{q: string, kind: string, entrant: string}} State */

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

document.documentElement.classList.add("scripted");
/** Legends with more entrants have a button that shows or hides all. */
const MANY = 8;
/** The smallest side, in pixels of the screen, of the pictures that a slider compares. */
const COMPARED_SIDE = 256;

// The filter and the highlighted entrant, which are kept in the fragment of the URL.

/** @returns {State} */
const readState = () => {
  const parameters = new URLSearchParams(location.hash.slice(1));
  return {
    q: parameters.get("q") ?? "",
    kind: parameters.get("kind") ?? "",
    entrant: parameters.get("entrant") ?? "",
  };
};
const state = readState();

const writeState = () => {
  const kept = new URLSearchParams(Object.entries(state).filter(([, value]) => value));
  const address = location.href.split("#")[0];
  history.replaceState(null, "", kept.size ? `${address}#${kept}` : address);
};

/** @type {HTMLFormElement | null} */
const form = document.querySelector("#filter");

const filter = () => {
  const text = state.q.toLowerCase();
  /** @type {Set<string>} */
  const hidden = new Set();
  /** @type {Set<string>} */
  const shown = new Set();
  for (const row of /** @type {HTMLTableRowElement[]} */ (findAll("table.board tr[data-e]"))) {
    // The title of a name is its spec.
    const titles = findAll("bdi[title]", row.cells[0]).map((name) => name.getAttribute("title"));
    const label = [row.cells[0].textContent, ...titles].join(" ").toLowerCase();
    const isShown = label.includes(text) && (!state.kind || row.dataset.kind === state.kind);
    row.classList.toggle("out", !isShown);
    (isShown ? shown : hidden).add(row.dataset.e ?? "");
  }
  const others = ".legend > [data-e], .series[data-e], .pictures [data-e], .vectors [data-e]";
  for (const item of /** @type {HTMLElement[]} */ (findAll(others)))
    item.classList.toggle("out", hidden.has(item.dataset.e ?? "") && !shown.has(item.dataset.e ?? ""));
  const count = `${shown.size} of ${new Set([...shown, ...hidden]).size} entrants`;
  find("#found").textContent = state.q || state.kind ? count : "";
};

const highlight = () => {
  const chosen = state.entrant;
  for (const item of /** @type {(HTMLElement | SVGElement)[]} */ (findAll("[data-e]"))) {
    item.classList.toggle("on", item.dataset.e === chosen);
    if (item.classList.contains("series")) item.classList.toggle("dim", chosen !== "" && item.dataset.e !== chosen);
  }
  for (const button of findAll("button.pick")) {
    const row = /** @type {HTMLElement} */ (button.closest("[data-e]"));
    button.setAttribute("aria-pressed", String(row.dataset.e === chosen));
  }
  for (const series of findAll(".series.on")) series.parentNode?.appendChild(series);
};

/** @param {string} entrant */
const choose = (entrant) => {
  state.entrant = state.entrant === entrant ? "" : entrant;
  highlight();
  writeState();
};

/** @param {Element} element Its content, except for a link, becomes a button that highlights its entrant. */
const makePick = (element) => {
  const button = createElement("button", { type: "button", class: "pick", "aria-pressed": "false" });
  button.append(...[...element.childNodes].filter((node) => !(node instanceof HTMLAnchorElement)));
  element.prepend(button);
  const owner = /** @type {HTMLElement} */ (element.closest("[data-e]"));
  button.addEventListener("click", () => choose(owner.dataset.e ?? ""));
};

// Tables: a click on a heading sorts, and buttons choose the group of columns that is shown.

/** @param {HTMLTableRowElement} row @param {number} column @returns {string | number | null} */
const sortKey = (row, column) => {
  const cell = row.cells[column];
  const text = cell.dataset.v ?? (cell.textContent ?? "").trim().replace("−", "-");
  if (text === "" || text === "–") return null;
  return cell.classList.contains("left") || column === 0 ? text : Number.parseFloat(text);
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
    const difference = typeof a.key === "string" ? a.key.localeCompare(String(b.key)) : a.key - Number(b.key);
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
  const groups = JSON.parse(table.dataset.groups ?? "[]");
  if (groups.length < 2) return;
  const bar = createElement("div", { class: "groups", role: "group", "aria-label": "columns" }, "Columns: ");
  const region = /** @type {HTMLElement} */ (table.parentElement);
  const buttons = groups.map((name, index) => {
    const button = createElement("button", { type: "button" }, name);
    button.addEventListener("click", () => show(index));
    return button;
  });
  /** @param {number} shown */
  const show = (shown) => {
    buttons.forEach((button, index) => {
      table.classList.toggle(`by${index}`, index === shown);
      button.setAttribute("aria-pressed", String(index === shown));
    });
    region.scrollLeft = 0;
  };
  show(0);
  bar.append(...buttons);
  region.before(bar);
};

// Figures: check boxes show or hide entrants, and a tooltip shows the value of a point.

/** @param {HTMLElement} legend */
const prepareLegend = (legend) => {
  const section = /** @type {Element} */ (legend.closest(".dataset"));
  const items = /** @type {HTMLElement[]} */ ([...legend.children]);
  /** @type {Map<string, Element[]>} */
  const seriesByEntrant = new Map();
  for (const series of /** @type {SVGElement[]} */ (findAll(".series[data-e]", section))) {
    const entrant = series.dataset.e ?? "";
    seriesByEntrant.set(entrant, [...(seriesByEntrant.get(entrant) ?? []), series]);
  }
  /** @type {HTMLInputElement[]} */
  const boxes = items.map((item) => {
    makePick(item);
    const name = find("bdi", item).textContent ?? "";
    const attributes = { type: "checkbox", "aria-label": `draw ${name}` };
    const box = /** @type {HTMLInputElement} */ (createElement("input", attributes));
    box.checked = true;
    const show = () => {
      for (const series of seriesByEntrant.get(item.dataset.e ?? "") ?? [])
        series.classList.toggle("off", !box.checked);
    };
    box.addEventListener("change", show);
    item.prepend(box);
    return box;
  });
  if (items.length <= MANY) return;
  const toggleAll = createElement("button", { type: "button" }, `all ${items.length}`);
  toggleAll.addEventListener("click", () => {
    const isOn = boxes.some((box) => !box.checked);
    for (const box of boxes) {
      box.checked = isOn;
      box.dispatchEvent(new Event("change"));
    }
  });
  const item = createElement("li", {});
  item.append(toggleAll);
  legend.append(item);
};

/** @type {HTMLElement} */
const tip = find("#tip");

/** @param {SVGUseElement} point @param {HTMLElement} chart */
const showValue = (point, chart) => {
  const series = /** @type {SVGElement} */ (point.closest(".series"));
  const positions = (series.dataset.at ?? chart.dataset.at ?? "").split(" ").map(Number);
  const x = Number(point.getAttribute("x"));
  const distances = positions.map((position) => Math.abs(position - x));
  const nearest = distances.reduce((best, distance, index) => (distance < distances[best] ? index : best), 0);
  const values = (series.dataset.v ?? "").split("|");
  const [value, low, high] = values[Math.min(nearest, values.length - 1)].split(" ");
  const unit = chart.dataset.unit ? ` ${chart.dataset.unit}` : "";
  const interval = low ? ` (${low} to ${high})` : "";
  const where = (series.dataset.x ?? chart.dataset.x ?? "").split("|")[nearest] ?? "";
  tip.textContent = `${series.dataset.name}: ${value}${unit}${interval}${where ? `, ${where}` : ""}`;
  tip.hidden = false;
  const box = point.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left + 12, document.documentElement.clientWidth - tip.offsetWidth - 8));
  const above = box.top - tip.offsetHeight - 10;
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${(above > 0 ? above : box.bottom + 10) + scrollY}px`;
  for (const other of findAll(".current")) other.classList.remove("current");
  point.classList.add("current");
};

const hideValue = () => {
  tip.hidden = true;
  for (const other of findAll(".current")) other.classList.remove("current");
};

/** @param {HTMLElement} chart @returns {SVGUseElement[][]} The points of each series that is shown. */
const points = (chart) =>
  findAll(".series[data-v]:not(.off):not(.out)", chart).map(
    (series) => /** @type {SVGUseElement[]} */ (findAll("use", series)),
  );

/** @param {HTMLElement} chart */
const prepareChart = (chart) => {
  const drawing = find("svg", chart);
  for (const series of /** @type {SVGElement[]} */ (findAll(".series[data-v]", chart))) {
    // Browsers would show the title as a second tooltip.
    const title = find("title", series);
    series.dataset.name = title.textContent ?? "";
    title.remove();
  }
  chart.tabIndex = 0;
  chart.setAttribute("role", "group");
  chart.setAttribute("aria-label", `${drawing.getAttribute("aria-label")}: use the arrow keys to move between values`);
  chart.addEventListener("pointermove", (event) => {
    let nearest = null;
    let smallest = 30;
    for (const point of points(chart).flat()) {
      const box = point.getBoundingClientRect();
      const distance = Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
      if (distance < smallest) [nearest, smallest] = [point, distance];
    }
    if (nearest) showValue(nearest, chart);
    else hideValue();
  });
  chart.addEventListener("pointerleave", hideValue);
  chart.addEventListener("blur", hideValue);
  drawing.addEventListener("click", (event) => {
    const series = /** @type {SVGElement | null} */ (/** @type {Element} */ (event.target).closest(".series[data-e]"));
    if (series) choose(series.dataset.e ?? "");
  });
  let [row, column] = [0, -1];
  chart.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] };
    if (event.key === "Escape") hideValue();
    const step = steps[/** @type {keyof typeof steps} */ (event.key)];
    const lines = points(chart).filter((line) => line.length);
    // Series of one point each are one row, from left to right.
    if (lines.every((line) => line.length === 1)) lines.splice(0, lines.length, lines.flat());
    const rows = lines.map((line) => line.sort((a, b) => a.x.baseVal.value - b.x.baseVal.value));
    if (!step || !rows.length) return;
    event.preventDefault();
    row = (row + step[0] + rows.length) % rows.length;
    column = Math.max(0, Math.min(column + step[1], rows[row].length - 1));
    showValue(rows[row][column], chart);
  });
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

/** @param {() => void} change */
const onFilter = (change) => () => {
  change();
  filter();
  writeState();
};
if (form) {
  /** @type {HTMLInputElement} */
  const query = find("[name=q]", form);
  /** @type {HTMLSelectElement} */
  const kinds = find("[name=kind]", form);
  form.hidden = false;
  [query.value, kinds.value] = [state.q, state.kind];
  query.addEventListener("input", onFilter(() => (state.q = query.value)));
  kinds.addEventListener("input", onFilter(() => (state.kind = kinds.value)));
  form.addEventListener("reset", onFilter(() => ([state.q, state.kind] = ["", ""])));
  form.addEventListener("submit", (event) => event.preventDefault());
}
for (const link of /** @type {HTMLAnchorElement[]} */ (findAll('a[href^="#"]')))
  link.addEventListener("click", (event) => {
    const target = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (!target) return;
    // The fragment of the URL keeps the filter.
    event.preventDefault();
    target.tabIndex = -1;
    target.focus();
    target.scrollIntoView();
  });
findAll("table.board").forEach((table) => prepareTable(/** @type {HTMLTableElement} */ (table)));
findAll("tr[data-e] > th:not(.plain)").forEach(makePick);
findAll(".legend").forEach((legend) => prepareLegend(/** @type {HTMLElement} */ (legend)));
findAll(".chart[data-at]").forEach((chart) => prepareChart(/** @type {HTMLElement} */ (chart)));
findAll(".pictures").forEach((pictures) => prepareSlider(/** @type {HTMLElement} */ (pictures)));
if (form && (state.q || state.kind)) filter();
if (state.entrant) highlight();
