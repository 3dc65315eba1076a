// Behaviour of the components, by delegation: what htmx swaps in works without being set up.

const SNACKBAR_MS = 6000;

// Dialogs: data-dialog-open="id" on a button, data-dialog-close inside the dialog.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog-open]");
  if (opener) document.getElementById(opener.dataset.dialogOpen).showModal();
  event.target.closest("[data-dialog-close]")?.closest("dialog").close();
  event.target.closest("a[download]")?.closest("[popover]")?.hidePopover();
});

// data-waits: a whole page comes as the answer, and may take a while. Buttons count until they are sent.
function wait(form, waiting) {
  form.querySelector("progress").hidden = !waiting;
  for (const button of form.querySelectorAll("button")) button.disabled = waiting;
}

document.addEventListener("submit", (event) => {
  if (event.target.matches("[data-waits]")) setTimeout(() => wait(event.target, true));
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted) for (const form of document.querySelectorAll("[data-waits]")) wait(form, false);
});

// A form marked data-dialog-done closes its dialog and is emptied when the server has taken it.
document.addEventListener("htmx:afterRequest", (event) => {
  const form = event.target;
  if (!event.detail.successful || !form.matches?.("form[data-dialog-done]")) return;
  form.reset();
  if (form.dataset.requires) refresh(form);
  form.closest("dialog")?.close();
});

// data-requires="name": the form's last button waits until these fields hold some text.
function refresh(form) {
  const names = form.dataset.requires.split(" ");
  const filled = names.every((name) => form.elements[name].value.trim());
  const submit = [...form.querySelectorAll("button:not([type=button])")].at(-1);
  submit.disabled = !filled;
}

document.addEventListener("input", (event) => {
  const form = event.target.closest("form[data-requires]");
  if (form) refresh(form);
  const slider = event.target.closest(".slider input");
  if (slider) slider.parentElement.querySelector("output").textContent = slider.value;
});

// The snackbar's message leaves by itself; a page may come with one.
const snackbar = document.getElementById("snackbar");
new MutationObserver(() => {
  const message = snackbar.firstElementChild;
  if (!message) return;
  // An open dialog covers all that is outside of it.
  const room = document.querySelector("dialog:modal") ?? document.body;
  if (snackbar.parentElement !== room) room.append(snackbar);
  setTimeout(() => message.remove(), SNACKBAR_MS);
}).observe(snackbar, { childList: true });
document.addEventListener(
  "close",
  (event) => {
    if (event.target.contains(snackbar)) document.body.append(snackbar);
  },
  true,
);

function say(text) {
  const message = document.createElement("p");
  message.textContent = text;
  snackbar.replaceChildren(message);
}

// Said again, so that it is announced too: a live region's first content is not.
if (snackbar.firstElementChild) say(snackbar.firstElementChild.textContent);

document.addEventListener("htmx:sendError", () => say("The server cannot be reached."));
// An answer that is not meant for the snackbar must not replace a part of the page with an error.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr, target } = event.detail;
  if (target !== snackbar && target.contains(snackbar)) document.body.append(snackbar);
  if (xhr.status >= 400 && !xhr.getResponseHeader("HX-Retarget")) {
    event.detail.shouldSwap = false;
    say("That did not work. Please try again.");
  }
});
