// The dialog of an evaluator: shown while it is filled in, closed when the server has taken it.

const dialog = document.getElementById("evaluator-dialog");

document.addEventListener("evaluator-saved", () => dialog?.close());

// What was wrong is read first.
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.target.id !== "evaluator-dialog-body") return;
  event.target.querySelector('[aria-invalid="true"]')?.focus();
});
