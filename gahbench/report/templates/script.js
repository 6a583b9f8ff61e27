// @ts-check
// What a report gains where scripts run: all that it shows is there without.
"use strict";

/** @typedef {{q: string, kind: string, entrant: string}} State */

/** @template {Element} T @param {string} selector @param {ParentNode} [root] @returns {T[]} */
const all = (selector, root = document) => /** @type {T[]} */ ([...root.querySelectorAll(selector)]);

/** @template {Element} T @param {string} selector @param {ParentNode} [root] @returns {T} */
const one = (selector, root = document) => /** @type {T} */ (root.querySelector(selector));

/** @param {string} tag @param {Record<string, string>} attributes @param {string} [text] @returns {HTMLElement} */
const made = (tag, attributes, text = "") => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.textContent = text;
  return element;
};

document.documentElement.classList.add("scripted");
/** How many entrants of a figure are shown at first. */
const FIRST = 8;

// The filter and the highlighted entrant, which the address keeps.

/** @returns {State} */
const stateOfAddress = () => {
  const found = new URLSearchParams(location.hash.slice(1));
  return { q: found.get("q") ?? "", kind: found.get("kind") ?? "", entrant: found.get("entrant") ?? "" };
};
const state = stateOfAddress();

const keepState = () => {
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
  for (const row of /** @type {HTMLTableRowElement[]} */ (all("table.board tr[data-e]"))) {
    const label = (row.cells[0].textContent ?? "").toLowerCase();
    const stays = label.includes(text) && (!state.kind || row.dataset.kind === state.kind);
    row.classList.toggle("out", !stays);
    (stays ? shown : hidden).add(row.dataset.e ?? "");
  }
  for (const item of /** @type {HTMLElement[]} */ (all(".legend > [data-e], .series[data-e], .pictures [data-e]")))
    item.classList.toggle("out", hidden.has(item.dataset.e ?? "") && !shown.has(item.dataset.e ?? ""));
  const count = `${shown.size} of ${new Set([...shown, ...hidden]).size} entrants`;
  one("#found").textContent = state.q || state.kind ? count : "";
};

const highlight = () => {
  const chosen = state.entrant;
  for (const item of /** @type {(HTMLElement | SVGElement)[]} */ (all("[data-e]"))) {
    item.classList.toggle("on", item.dataset.e === chosen);
    if (item.classList.contains("series")) item.classList.toggle("dim", chosen !== "" && item.dataset.e !== chosen);
  }
  for (const button of all("button.pick")) {
    const row = /** @type {HTMLElement} */ (button.closest("[data-e]"));
    button.setAttribute("aria-pressed", String(row.dataset.e === chosen));
  }
  for (const series of all(".series.on")) series.parentNode?.appendChild(series);
};

/** @param {string} entrant */
const choose = (entrant) => {
  state.entrant = state.entrant === entrant ? "" : entrant;
  highlight();
  keepState();
};

/** @param {Element} place Whose content, but for a link, becomes a button that highlights its entrant. */
const makePick = (place) => {
  const button = made("button", { type: "button", class: "pick", "aria-pressed": "false" });
  button.append(...[...place.childNodes].filter((node) => !(node instanceof HTMLAnchorElement)));
  place.prepend(button);
  const whose = /** @type {HTMLElement} */ (place.closest("[data-e]"));
  button.addEventListener("click", () => choose(whose.dataset.e ?? ""));
};

// Tables: sorted by a click on a heading, columns in groups that are switched.

/** @param {HTMLTableRowElement} row @param {number} column @returns {string | number | null} */
const sortKey = (row, column) => {
  const cell = row.cells[column];
  const text = cell.dataset.v ?? (cell.textContent ?? "").trim().replace("−", "-");
  if (text === "" || text === "–") return null;
  return cell.classList.contains("left") || column === 0 ? text : Number.parseFloat(text);
};

/** @param {HTMLTableElement} table @param {HTMLTableCellElement} head */
const sort = (table, head) => {
  // Numbers from the largest, ranks and texts from the first.
  const rising = head.classList.contains("left") || head.textContent === "rank";
  const before = head.getAttribute("aria-sort");
  const order = before ? (before === "descending" ? "ascending" : "descending") : rising ? "ascending" : "descending";
  for (const other of all("th", /** @type {Element} */ (head.parentNode))) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", order);
  const body = table.tBodies[0];
  const keyed = [...body.rows].map((row, place) => ({ row, place, key: sortKey(row, head.cellIndex) }));
  const sign = order === "ascending" ? 1 : -1;
  keyed.sort((one, other) => {
    // Those without a value stay last.
    if (one.key === null || other.key === null)
      return Number(one.key === null) - Number(other.key === null) || one.place - other.place;
    const apart = typeof one.key === "string" ? one.key.localeCompare(String(other.key)) : one.key - Number(other.key);
    return sign * apart || one.place - other.place;
  });
  body.append(...keyed.map(({ row }) => row));
};

/** @param {HTMLTableElement} table */
const prepareTable = (table) => {
  for (const head of /** @type {HTMLTableCellElement[]} */ (all("thead th", table))) {
    const button = made("button", { type: "button" }, head.textContent ?? "");
    head.replaceChildren(button);
    button.addEventListener("click", () => sort(table, head));
  }
  /** @type {string[]} */
  const groups = JSON.parse(table.dataset.groups ?? "[]");
  if (groups.length < 2) return;
  const bar = made("div", { class: "groups", role: "group", "aria-label": "columns" }, "Columns: ");
  groups.forEach((name, place) => {
    const button = made("button", { type: "button", "aria-pressed": String(place === 0) }, name);
    if (place) table.classList.add(`no${place}`);
    button.addEventListener("click", () => {
      const isHidden = table.classList.toggle(`no${place}`);
      button.setAttribute("aria-pressed", String(!isHidden));
    });
    bar.append(button);
  });
  table.parentElement?.before(bar);
};

// Figures: entrants on and off, and the values of points.

/** @param {HTMLElement} legend */
const prepareLegend = (legend) => {
  const section = /** @type {Element} */ (legend.closest(".dataset"));
  const items = /** @type {HTMLElement[]} */ ([...legend.children]);
  /** @type {Map<string, Element[]>} */
  const drawn = new Map();
  for (const series of /** @type {SVGElement[]} */ (all(".series[data-e]", section))) {
    const whose = series.dataset.e ?? "";
    drawn.set(whose, [...(drawn.get(whose) ?? []), series]);
  }
  /** @type {HTMLInputElement[]} */
  const boxes = items.map((item, place) => {
    makePick(item);
    const name = one("bdi", item).textContent ?? "";
    const box = /** @type {HTMLInputElement} */ (made("input", { type: "checkbox", "aria-label": `draw ${name}` }));
    box.checked = place < FIRST;
    const show = () => {
      for (const series of drawn.get(item.dataset.e ?? "") ?? []) series.classList.toggle("off", !box.checked);
    };
    box.addEventListener("change", show);
    item.prepend(box);
    show();
    return box;
  });
  if (items.length <= FIRST) return;
  const every = made("button", { type: "button" }, `all ${items.length}`);
  every.addEventListener("click", () => {
    const isOn = boxes.some((box) => !box.checked);
    for (const box of boxes) {
      box.checked = isOn;
      box.dispatchEvent(new Event("change"));
    }
  });
  const last = made("li", {});
  last.append(every);
  legend.append(last);
};

/** @type {HTMLElement} */
const tip = one("#tip");

/** @param {SVGUseElement} point @param {HTMLElement} chart */
const showValue = (point, chart) => {
  const series = /** @type {SVGElement} */ (point.closest(".series"));
  const places = (series.dataset.at ?? chart.dataset.at ?? "").split(" ").map(Number);
  const x = Number(point.getAttribute("x"));
  const at = places.reduce((best, place, k) => (Math.abs(place - x) < Math.abs(places[best] - x) ? k : best), 0);
  const values = (series.dataset.v ?? "").split("|");
  const [value, low, high] = values[Math.min(at, values.length - 1)].split(" ");
  const unit = chart.dataset.unit ? ` ${chart.dataset.unit}` : "";
  const interval = low ? ` (${low} to ${high})` : "";
  const where = (series.dataset.x ?? chart.dataset.x ?? "").split("|")[at] ?? "";
  tip.textContent = `${series.dataset.name}: ${value}${unit}${interval}${where ? `, ${where}` : ""}`;
  tip.hidden = false;
  const box = point.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left + 12, document.documentElement.clientWidth - tip.offsetWidth - 8));
  const above = box.top - tip.offsetHeight - 10;
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${(above > 0 ? above : box.bottom + 10) + scrollY}px`;
  for (const other of all(".current")) other.classList.remove("current");
  point.classList.add("current");
};

const hideValue = () => {
  tip.hidden = true;
  for (const other of all(".current")) other.classList.remove("current");
};

/** @param {HTMLElement} chart @returns {SVGUseElement[][]} The points of each series that is shown. */
const points = (chart) =>
  all(".series[data-v]:not(.off):not(.out)", chart).map((series) => /** @type {SVGUseElement[]} */ (all("use", series)));

/** @param {HTMLElement} chart */
const prepareChart = (chart) => {
  const drawing = one("svg", chart);
  for (const series of /** @type {SVGElement[]} */ (all(".series[data-v]", chart))) {
    // Else browsers would show it beside the values.
    const title = one("title", series);
    series.dataset.name = title.textContent ?? "";
    title.remove();
  }
  chart.tabIndex = 0;
  chart.setAttribute("role", "group");
  chart.setAttribute("aria-label", `${drawing.getAttribute("aria-label")}: arrow keys go from value to value`);
  chart.addEventListener("pointermove", (event) => {
    let nearest = null;
    let least = 30;
    for (const point of points(chart).flat()) {
      const box = point.getBoundingClientRect();
      const apart = Math.hypot(box.x + box.width / 2 - event.clientX, box.y + box.height / 2 - event.clientY);
      if (apart < least) [nearest, least] = [point, apart];
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
    const rows = lines.map((line) => line.sort((one, other) => one.x.baseVal.value - other.x.baseVal.value));
    if (!step || !rows.length) return;
    event.preventDefault();
    row = (row + step[0] + rows.length) % rows.length;
    column = Math.max(0, Math.min(column + step[1], rows[row].length - 1));
    showValue(rows[row][column], chart);
  });
};

// Images of two entrants, one over the other.

/** @param {HTMLElement} pictures The images of a dataset at one noise level. */
const prepareSlider = (pictures) => {
  const rows = /** @type {HTMLElement[]} */ (all("[data-e]", pictures));
  if (rows.length < 2) return;
  const names = rows.map((row) => one("bdi", row).textContent ?? "");
  const [first, second] = ["A", "B"].map((name, place) => {
    const label = made("label", {}, `${name} `);
    const select = /** @type {HTMLSelectElement} */ (made("select", {}));
    names.forEach((text, value) => select.append(new Option(text, String(value), false, value === place)));
    label.append(select);
    return { label, select };
  });
  const label = made("label", {}, "A to B ");
  const range = /** @type {HTMLInputElement} */ (made("input", { type: "range", min: "0", max: "100", value: "50" }));
  label.append(range);
  const stack = made("div", { class: "stack" });
  const draw = () => {
    const copies = [first, second].map(({ select }) => {
      const image = /** @type {HTMLImageElement} */ (one("img.denoised", rows[Number(select.value)]).cloneNode());
      image.alt = `${names[Number(select.value)]}, denoised`;
      return image;
    });
    copies[1].classList.add("over");
    stack.replaceChildren(...copies);
    cut();
  };
  const cut = () => {
    const over = /** @type {HTMLElement} */ (stack.lastElementChild);
    over.style.clipPath = `inset(0 0 0 ${range.value}%)`;
    stack.style.setProperty("--cut", `${range.value}%`);
  };
  range.addEventListener("input", cut);
  for (const { select } of [first, second]) select.addEventListener("change", draw);
  const slider = made("div", { class: "slider", role: "group", "aria-label": "two entrants, one over the other" });
  slider.append(first.label, second.label, label, stack);
  pictures.prepend(slider);
  draw();
};

// All of it.

/** @param {() => void} change */
const onFilter = (change) => () => {
  change();
  filter();
  keepState();
};
if (form) {
  /** @type {HTMLInputElement} */
  const query = one("[name=q]", form);
  /** @type {HTMLSelectElement} */
  const kinds = one("[name=kind]", form);
  form.hidden = false;
  [query.value, kinds.value] = [state.q, state.kind];
  query.addEventListener("input", onFilter(() => (state.q = query.value)));
  kinds.addEventListener("input", onFilter(() => (state.kind = kinds.value)));
  form.addEventListener("reset", onFilter(() => ([state.q, state.kind] = ["", ""])));
  form.addEventListener("submit", (event) => event.preventDefault());
}
for (const link of /** @type {HTMLAnchorElement[]} */ (all('a[href^="#"]')))
  link.addEventListener("click", (event) => {
    const target = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (!target) return;
    // The address keeps the filter.
    event.preventDefault();
    target.tabIndex = -1;
    target.focus();
    target.scrollIntoView();
  });
all("table.board").forEach((table) => prepareTable(/** @type {HTMLTableElement} */ (table)));
all("tr[data-e] > th:not(.plain)").forEach(makePick);
all(".legend").forEach((legend) => prepareLegend(/** @type {HTMLElement} */ (legend)));
all(".chart[data-at]").forEach((chart) => prepareChart(/** @type {HTMLElement} */ (chart)));
all(".pictures").forEach((pictures) => prepareSlider(/** @type {HTMLElement} */ (pictures)));
if (form && (state.q || state.kind)) filter();
if (state.entrant) highlight();
