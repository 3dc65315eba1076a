// Runs before the first paint: a page never flashes in the wrong scheme.
(() => {
  const key = "evalsuite-theme";
  const apply = (choice) => {
    if (choice === "light" || choice === "dark") document.documentElement.dataset.theme = choice;
    else delete document.documentElement.dataset.theme;
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === (choice || "system")));
    }
  };
  apply(localStorage.getItem(key));
  document.addEventListener("DOMContentLoaded", () => apply(localStorage.getItem(key)));
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.("[data-theme-choice]");
    if (!button) return;
    localStorage.setItem(key, button.dataset.themeChoice);
    apply(button.dataset.themeChoice);
  });
})();
