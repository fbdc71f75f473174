// Sorting, filtering and downloading of tables, and the choice of methods in a gallery. Pages are whole without it.
"use strict";

// The state of a page stands in its address: #id?key=value&key=value, so that a link leads back to what was seen.
const state = new URLSearchParams(location.hash.split("?").slice(1).join("?"));
if (location.hash.includes("?")) history.scrollRestoration = "manual"; // the place is in the address
let anchor = anchorOf(location.hash);

function anchorOf(hash) {
  try {
    return decodeURIComponent(hash.slice(1).split("?")[0]);
  } catch { // a damaged address leads nowhere
    return "";
  }
}

function remember(key, value, usual) {
  if (value === usual) state.delete(key);
  else state.set(key, value);
  const query = state.toString();
  const hash = anchor || query ? `#${encodeURIComponent(anchor)}${query ? `?${query}` : ""}` : " ";
  history.replaceState(null, "", hash === " " ? location.pathname + location.search : hash);
}

function later(work) {
  let waiting = 0;
  return () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(work); };
}

// A text to sort by: numbers inside count as numbers. (Intl.Collator takes seconds for 5,000 rows.)
const sortable = (text) => text.toLowerCase().replace(/\d+/g, (digits) => digits.padStart(12, "0"));

const FIRST = 500; // rows that a long table shows at once, since laying out thousands takes seconds on a phone

function setUp(box, place) {
  const table = box.querySelector("table"), body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const names = heads.map((head) => head.dataset.name);
  const numeric = heads.map((head) => head.classList.contains("num"));
  const textOf = (row) => Array.from(row.cells, (cell) => cell.textContent).join("\n").toLowerCase();
  const rows = [...body.rows].map((row) => ({ row, text: textOf(row), fits: true }));
  const prefix = place ? `${box.dataset.table}.` : "";
  const tools = box.querySelector(".tools");
  const search = tools?.querySelector("[data-filter]");
  const selects = [...(tools?.querySelectorAll("[data-select]") ?? [])];
  let order = rows, sorted = { name: "", descending: false };
  let most = rows.some(({ row }, number) => number >= FIRST && row.id && row.id === anchor) ? Infinity : FIRST;

  const exact = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent;

  function draw() {
    const fitting = order.filter((entry) => entry.fits);
    body.replaceChildren(...fitting.slice(0, most).map((entry) => entry.row));
    if (!tools) return;
    const thing = box.dataset.thing, shown = Math.min(fitting.length, most);
    const parts = [`showing ${shown < fitting.length ? "the first " : ""}${shown} of ${rows.length} ${thing}`];
    if (fitting.length < rows.length) {
      if (shown < fitting.length) parts.push(`${fitting.length} fit the filter`);
      parts.push("ranks are those among all");
    }
    tools.querySelector("[data-status]").textContent = parts.join("; ");
    tools.querySelector("[data-all]").hidden = shown === fitting.length;
  }

  function sort(name, descending) {
    sorted = { name, descending };
    const column = names.indexOf(name);
    heads.forEach((head, number) => {
      if (number === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
    order = rows;
    if (column >= 0) {
      const sign = descending ? -1 : 1;
      const keyed = rows.map((entry, place) => {
        const value = exact(entry.row, column);
        return { entry, place, none: value === "", key: numeric[column] ? Number(value) : sortable(value) };
      });
      keyed.sort((a, b) => a.none - b.none || sign * ((a.key > b.key) - (a.key < b.key)) || a.place - b.place);
      order = keyed.map((item) => item.entry);
    }
    draw();
    remember(`${prefix}sort`, name ? (descending ? "-" : "") + name : "", "");
  }

  function press(name) {
    const first = numeric[names.indexOf(name)] && !/^rank/.test(name); // the largest numbers first, but the best ranks
    if (sorted.name !== name) sort(name, first);
    else if (sorted.descending === first) sort(name, !first);
    else sort("", false);
  }

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = selects.filter((select) => select.value)
      .map((select) => [names.indexOf(select.dataset.select), select.value]);
    for (const entry of rows) {
      entry.fits = words.every((word) => entry.text.includes(word))
        && wanted.every(([column, value]) => entry.row.cells[column].textContent === value);
    }
    draw();
    remember(`${prefix}filter`, search.value.trim(), "");
    selects.forEach((select) => remember(`${prefix}${select.dataset.select}`, select.value, ""));
  }

  // As for CSV made by xaibench: an apostrophe goes before a text that a spreadsheet would take for a formula.
  function quoted(text, isNumber) {
    const safe = !isNumber && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  }

  function download() {
    const columns = heads.map((_, number) => number).filter((number) => !("drawing" in heads[number].dataset));
    const lines = [columns.map((column) => quoted(names[column], false)).join(",")];
    for (const { row, fits } of order) {
      if (!fits) continue;
      lines.push(columns.map((column) => quoted(exact(row, column).trim(),
        row.cells[column].dataset.value !== undefined)).join(","));
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
    link.download = `${document.title.split(" · ")[0]}-${box.dataset.table}.csv`.replace(/[^A-Za-z0-9_.-]+/g, "-");
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  heads.forEach((head, number) => {
    if ("drawing" in head.dataset) return;
    const title = head.querySelector("span"), button = document.createElement("button");
    button.type = "button";
    button.append(...title.childNodes);
    title.append(button);
    button.addEventListener("click", () => press(names[number]));
  });

  if (tools) {
    tools.hidden = false;
    search.value = state.get(`${prefix}filter`) ?? "";
    for (const select of selects) {
      const value = state.get(prefix + select.dataset.select) ?? "";
      select.value = [...select.options].some((option) => option.value === value) ? value : "";
    }
    search.addEventListener("input", later(filter));
    selects.forEach((select) => select.addEventListener("change", filter));
    tools.querySelector("[data-download]").addEventListener("click", download);
    tools.querySelector("[data-all]").addEventListener("click", () => { most = Infinity; draw(); });
    filter();
  }
  const asked = state.get(`${prefix}sort`) ?? "", name = asked.replace(/^-/, "");
  if (name && names.includes(name)) sort(name, asked.startsWith("-"));
}

function setUpChooser(form) {
  const boxes = [...form.querySelectorAll("input")];
  const figures = [...document.querySelectorAll("figure[data-method]")];
  const choices = Object.fromEntries(["spread", "best"].map((kind) =>
    [kind, new Set(boxes.filter((box) => kind in box.dataset).map((box) => box.value))]));
  choices.all = new Set(boxes.map((box) => box.value));
  const usual = [...choices.spread].join("\n");

  function show() {
    const chosen = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    for (const figure of figures) figure.hidden = !chosen.has(figure.dataset.method);
    form.querySelector("[data-status]").textContent = `showing ${chosen.size} of ${boxes.length} methods`;
    remember("methods", [...chosen].join("\n"), usual);
  }

  function choose(names) {
    boxes.forEach((box) => { box.checked = names.has(box.value); });
    show();
  }

  form.hidden = false;
  form.addEventListener("change", show);
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const button of form.querySelectorAll("[data-choose]")) {
    button.addEventListener("click", () => choose(choices[button.dataset.choose]));
  }
  const asked = state.get("methods");
  choose(asked === null ? choices.spread : new Set(asked.split("\n")));
}

function goTo() {
  document.querySelectorAll(".target").forEach((element) => element.classList.remove("target"));
  const element = anchor && document.getElementById(anchor);
  if (!element) return;
  element.classList.add("target");
  if (location.hash.includes("?")) element.scrollIntoView();
}

document.querySelectorAll("[data-table]").forEach(setUp);
document.querySelectorAll("[data-chooser]").forEach(setUpChooser);
goTo();
addEventListener("hashchange", () => {
  // Whoever gives another address with a state on an open page wants to see that state.
  if (location.hash.includes("?")) return location.reload();
  anchor = anchorOf(location.hash);
  goTo();
});
