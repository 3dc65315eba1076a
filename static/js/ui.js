// Behaviour of the components, by delegation: what htmx swaps in works without being set up.

const SNACKBAR_MS = 6000;

// Dialogs: data-dialog-open="id" on a button, data-dialog-close inside the dialog.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog-open]");
  if (opener) document.getElementById(opener.dataset.dialogOpen).showModal();
  event.target.closest("[data-dialog-close]")?.closest("dialog").close();
});

// A form marked data-dialog-done closes its dialog and is emptied when the server has taken it.
document.addEventListener("htmx:afterRequest", (event) => {
  const form = event.target;
  if (!event.detail.successful || !form.matches?.("form[data-dialog-done]")) return;
  form.reset();
  refresh(form);
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

// The snackbar's message leaves by itself.
const snackbar = document.getElementById("snackbar");
new MutationObserver(() => {
  const message = snackbar.firstElementChild;
  if (message) setTimeout(() => message.remove(), SNACKBAR_MS);
}).observe(snackbar, { childList: true });

function say(text) {
  const message = document.createElement("p");
  message.textContent = text;
  snackbar.replaceChildren(message);
}

document.addEventListener("htmx:sendError", () => say("The server cannot be reached."));
// An answer that is not meant for the snackbar must not replace a part of the page with an error.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr } = event.detail;
  if (xhr.status >= 400 && !xhr.getResponseHeader("HX-Retarget")) {
    event.detail.shouldSwap = false;
    say("That did not work. Please try again.");
  }
});
