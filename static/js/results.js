// The results of a batch: the sheet of one cell, and what a swap must not disturb.

const sheet = () => document.getElementById("cell-sheet");
const links = () => [...document.querySelectorAll("#cells [data-cell]")];
const openCell = () => sheet()?.querySelector("[data-sheet-cell]")?.dataset.sheetCell;
let isStale = false; // somebody rated in the sheet: the grid behind it shows what was before

function address(cell) {
  const url = new URL(location.href);
  if (cell) url.searchParams.set("cell", cell);
  else url.searchParams.delete("cell");
  return url.pathname + url.search;
}

function markSteps() {
  const shown = links();
  const at = shown.findIndex((link) => link.dataset.cell === openCell());
  for (const button of sheet().querySelectorAll("[data-sheet-step]")) {
    button.disabled = at < 0 || !shown[at + Number(button.dataset.sheetStep)];
  }
}

function step(by) {
  const shown = links();
  const at = shown.findIndex((link) => link.dataset.cell === openCell());
  if (at >= 0 && shown[at + by]) htmx.trigger(shown[at + by], "click");
}

function show() {
  if (!openCell()) return;
  if (!sheet().open) sheet().showModal();
  sheet().querySelector("[data-sheet-cell]").focus();
  markSteps();
}

document.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target?.id !== "cell-sheet") return;
  // One entry of the history for the sheet, however many cells are looked at in it.
  const isThere = sheet().open || new URLSearchParams(location.search).has("cell");
  if (isThere) history.replaceState({ htmx: true }, "", address(openCell()));
  else history.pushState({ htmx: true }, "", address(openCell()));
  show();
});

document.addEventListener(
  "close",
  (event) => {
    if (event.target !== sheet()) return;
    const cell = openCell();
    sheet().replaceChildren();
    history.replaceState({ htmx: true }, "", address(null));
    document.getElementById(`open-${cell}`)?.focus();
    if (!isStale) return;
    isStale = false;
    htmx.ajax("GET", address(null), { target: "#results-view", swap: "innerHTML" });
  },
  true, // a dialog's close does not bubble
);

document.addEventListener("click", (event) => {
  const stepper = event.target.closest("[data-sheet-step]");
  if (stepper) step(Number(stepper.dataset.sheetStep));
  if (event.target === sheet()) sheet().close(); // beside it
});

document.addEventListener("keydown", (event) => {
  if (!sheet()?.open || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.target.closest("input, textarea, select")) return;
  if (event.key === "j") step(1);
  if (event.key === "k") step(-1);
});

document.addEventListener("htmx:afterRequest", (event) => {
  const { requestConfig, successful, elt } = event.detail;
  if (successful && requestConfig.verb === "post" && elt.closest?.("#cell-sheet")) isStale = true;
});

// Filters that are not set, or as they are by themselves, stay out of the address.
document.addEventListener("htmx:configRequest", (event) => {
  if (!event.target.matches?.("form[data-skip-empty]")) return;
  const { formData } = event.detail;
  for (const [name, value] of [...formData.entries()]) {
    const usual = event.target.elements[name]?.dataset?.usual ?? "";
    if (value === usual || !value) formData.delete(name);
  }
});

document.addEventListener("change", (event) => event.target.closest("form[data-submit-on-change]")?.requestSubmit());

// What is swapped keeps its place: how far the grid was scrolled, and whether the filters were open.
let kept = null;

function keep() {
  const scroll = document.querySelector(".grid-scroll");
  kept = {
    top: scroll?.scrollTop ?? 0,
    left: scroll?.scrollLeft ?? 0,
    isOpen: document.getElementById("filter-box")?.open,
  };
}

function restore() {
  if (!kept) return;
  document.querySelector(".grid-scroll")?.scrollTo({ ...kept, behavior: "instant" });
  const box = document.getElementById("filter-box");
  if (box && kept.isOpen) box.open = true;
  kept = null;
}

const isResults = (event) => ["results-view", "cells"].includes(event.detail.target?.id);
for (const name of ["htmx:beforeSwap", "htmx:oobBeforeSwap"]) {
  document.addEventListener(name, (event) => isResults(event) && keep());
}
for (const name of ["htmx:afterSwap", "htmx:oobAfterSwap"]) {
  document.addEventListener(name, (event) => isResults(event) && restore());
}

