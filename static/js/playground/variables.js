// {{ name }} in the prompt becomes a field. The server fills them in; here it is done only to show it.

import { element } from "./dom.js";

// The same names as playground/prompting.py.
const PLACEHOLDER = /\{\{\s*([A-Za-z_][A-Za-z0-9_.-]*)\s*\}\}/g;

export const namesIn = (prompt) => [...new Set([...prompt.matchAll(PLACEHOLDER)].map((found) => found[1]))];

export const filled = (prompt, values) =>
  prompt.replace(PLACEHOLDER, (whole, name) => (Object.hasOwn(values, name) ? values[name] : whole));

export class Variables {
  constructor(group) {
    this.group = group;
    this.kept = {}; // what was written for a name that is gone for now
  }

  get fields() {
    return [...this.group.querySelectorAll("textarea")];
  }

  get values() {
    return Object.fromEntries(this.fields.map((field) => [field.dataset.variable, field.value]));
  }

  get complete() {
    return this.fields.every((field) => field.value.trim());
  }

  show(prompt, values = {}) {
    Object.assign(this.kept, this.values, values);
    const names = namesIn(prompt);
    const shown = this.fields.map((field) => field.dataset.variable);
    this.group.hidden = !names.length;
    if (names.join("\n") !== shown.join("\n")) {
      this.group.querySelectorAll(".field").forEach((field) => field.remove());
      this.group.append(...names.map((name, position) => this.field(name, position)));
    } else {
      for (const field of this.fields) if (field.dataset.variable in values) field.value = values[field.dataset.variable];
    }
  }

  field(name, position) {
    const id = `variable-${position}`;
    const area = element("textarea", { id, rows: 1, placeholder: " ", data: { variable: name } });
    area.value = this.kept[name] ?? "";
    return element("div", { className: "field" }, area, element("label", { for: id, text: name }));
  }
}
