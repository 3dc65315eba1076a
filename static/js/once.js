// What is shown once, such as a new key: copied from its dialog, and gone from the page when that closes.

document.addEventListener("htmx:afterSettle", () => {
  document.querySelector("dialog[data-shown-once]:not([open])")?.showModal();
});

document.addEventListener(
  "close",
  (event) => {
    if (event.target.matches("dialog[data-shown-once]")) event.target.remove();
  },
  true,
);

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy-from]");
  if (!copy) return;
  const told = copy.closest("dialog").querySelector("[data-copied]");
  try {
    await navigator.clipboard.writeText(document.getElementById(copy.dataset.copyFrom).textContent);
    told.textContent = "Copied.";
  } catch {
    told.textContent = "The browser does not let us copy it: select it and copy it yourself.";
  }
});
