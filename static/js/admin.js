// The htmx of the admin's theme, as strict as our own. Comes behind it, and before it starts.
Object.assign(window.htmx.config, {
  allowEval: false,
  includeIndicatorStyles: false,
  selfRequestsOnly: true,
});
