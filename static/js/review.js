// The review by keyboard: each key presses the button or the link that shows it, one after the other.

const LONGEST_QUEUE = 20;
const keys = [];
let request = null; // the one under way
let pressed = ""; // the key that made the request under way
let held = ""; // of the button that had the focus before its cell was replaced
let unfolded = []; // what the rater wants to see of each cell

document.addEventListener("keydown", (event) => {
  const writes = event.target.closest("input, textarea, select, [contenteditable]");
  if (writes || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog:modal")) return;
  if (!/^[jkudsn1-9]$/.test(event.key)) return;
  event.preventDefault();
  if (keys.length < LONGEST_QUEUE) keys.push(event.key);
  press();
});

// A key waits until the one before has its answer: otherwise it would rate the wrong cell.
function press() {
  while (!request && keys.length) {
    const button = keyed((pressed = keys.shift()));
    button?.click();
  }
}

document.addEventListener("htmx:beforeRequest", (event) => {
  request = event.detail.xhr;
});
// What the answer brought is on the page by then.
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.xhr !== request) return;
  request = null;
  pressed = "";
  queueMicrotask(press); // htmx still holds this request, and would drop another
});
document.addEventListener("htmx:sendError", () => {
  keys.length = 0;
});

function keyed(key) {
  return document.querySelector(`#review [data-key="${key}"]:not(:disabled)`);
}

// A dialog with a text field is ready to be written in; Ctrl and Enter sends it.
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) event.target.closest("dialog form")?.requestSubmit();
});

// The focus stays where it was; by keyboard it goes to what was pressed, or to the place of the new cell.
document.addEventListener("htmx:beforeSwap", () => {
  held = document.activeElement?.dataset.key ?? "";
  unfolded = [...document.querySelectorAll("#review details[open]")].map((details) => details.id);
});
document.addEventListener("htmx:afterSwap", (event) => {
  for (const id of unfolded) document.getElementById(id)?.setAttribute("open", "");
  if (document.activeElement !== document.body) return;
  const isNew = event.detail.requestConfig.verb === "get";
  const button = pressed && isNew ? null : keyed(pressed || held);
  (button ?? document.getElementById("review-title"))?.focus({ preventScroll: true });
});
