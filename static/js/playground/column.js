// One column of the bench: its settings, its answers, and what is shown of them.

import { Answer, STATES, figures, marks } from "./answers.js";
import { copy, element } from "./dom.js";
import * as settings from "./settings.js";
import { spreadOf } from "./spread.js";
import { diff } from "./worddiff.js";

let made = 0;
const HINT = "The answer appears here as the model writes it.";
const ID_ATTRIBUTES = ["id", "for", "aria-controls", "aria-labelledby", "aria-describedby"];

// `act(what, column)` is called for what more than this column takes part in.
export class Column {
  constructor(act) {
    this.act = act;
    made += 1;
    this.el = document.getElementById("column-template").content.firstElementChild.cloneNode(true);
    for (const name of ID_ATTRIBUTES) {
      for (const holder of [this.el, ...this.el.querySelectorAll(`[${name}]`)]) {
        const value = holder.getAttribute(name);
        if (value) holder.setAttribute(name, value.replaceAll("c0-", `c${made}-`));
      }
    }
    this.answers = [];
    this.shown = 0;
    this.el.addEventListener("click", (event) => this.clicked(event));
    this.el.addEventListener("input", () => this.refresh());
    this.el.addEventListener("change", (event) => {
      if (event.target.name === "chatProfileId") settings.takeOverProfile(this.el);
      this.refresh();
    });
    this.refresh();
  }

  part(name) {
    return this.el.querySelector(`[data-part="${name}"]`);
  }

  button(name) {
    return this.el.querySelector(`[data-do="${name}"]`);
  }

  get setup() {
    return this.el.querySelector(".column-setup");
  }

  get answer() {
    return this.answers[this.shown];
  }

  get running() {
    return this.answers.some((answer) => !answer.ended);
  }

  // What it can be asked further in: the session of the answer that is shown.
  get session() {
    return this.answer?.text ? this.answer.sessionId : null;
  }

  get name() {
    return `${this.letter}: ${settings.title(this.el)}`;
  }

  // --- settings

  read() {
    return settings.read(this.el);
  }

  write(values) {
    settings.write(this.el, values);
    this.refresh();
  }

  // Its place among `count` columns; all that tells columns apart follows.
  place(position, count) {
    this.letter = String.fromCharCode(65 + position);
    const many = count > 1;
    this.el.querySelector(".column-letter").textContent = this.letter;
    for (const labelled of [this.el, ...this.el.querySelectorAll("[data-label]")]) {
      const { label } = labelled.dataset;
      const whose = label === "Column" ? `Column ${this.letter}` : `${label} of ${this.letter}`;
      labelled.setAttribute("aria-label", many ? whose : label);
    }
    for (const [what, label] of [["duplicate", "Duplicate"], ["remove", "Remove"], ["setup", "Settings of"]]) {
      this.button(what).setAttribute("aria-label", `${label} column ${this.letter}`);
    }
    this.unfold(!many || !this.folded);
  }

  // In a single column the settings are always there; beside others they fold away.
  unfold(open) {
    this.setup.hidden = !open;
    this.button("setup").setAttribute("aria-expanded", String(open));
  }

  fold(folded) {
    this.folded = folded;
    this.unfold(!folded);
  }

  refuse(reason) {
    this.part("settings-error").textContent = reason;
    this.part("settings-error").hidden = !reason;
    if (reason) this.fold(false);
  }

  refresh() {
    const at = (name) => this.el.querySelector(`[name="${name}"]`);
    this.part("model-field").hidden = Boolean(at("chatProfileId").value);
    this.part("schema-field").hidden = at("format").value !== "schema";
    this.el.querySelector(".column-title").textContent = settings.title(this.el);
    this.el.querySelector(".column-summary").textContent = settings.summary(this.el);
    this.act("changed", this);
  }

  // --- answers

  // Begin anew, or after what was said so far.
  expect(repeats, prompt, { further = false, asked }) {
    const earlier = further && this.answer ? [...this.answer.earlier, this.answer] : [];
    this.asked = asked;
    this.answers = Array.from({ length: repeats }, (_, repeat) => new Answer(repeat, prompt, earlier));
    this.shown = 0;
    this.refuse("");
    this.show();
  }

  restore(answers, asked) {
    Object.assign(this, { answers, asked, shown: 0 });
    this.show();
  }

  take(name, data) {
    const answer = this.answers[data.repeat];
    const grew = answer.take(name, data);
    const seen = answer === this.answer;
    if (grew && seen && this.grown) this.grow(data);
    else if (seen || !grew) this.show();
    if (answer.ended) this.act("ended", this);
  }

  // The stream is over: what has not ended by now never will.
  close(reason) {
    for (const answer of this.answers) if (!answer.ended) answer.fail(reason);
    this.show();
  }

  grow({ content, thinking }) {
    const output = this.part("output");
    const atEnd = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
    output.append(content);
    this.part("thought").append(thinking);
    this.part("thinking").hidden = !this.answer.thinking;
    if (atEnd) output.scrollTop = output.scrollHeight;
  }

  choose(repeat) {
    this.shown = repeat;
    this.show();
    this.act("changed", this);
  }

  // All of it anew, as the answers are now.
  show() {
    const { answer } = this;
    this.grown = answer?.state === "writing";
    this.showText();
    this.part("thinking").hidden = !answer?.thinking;
    this.part("thought").textContent = answer?.thinking ?? "";
    this.part("error").textContent = answer?.error ?? "";
    this.part("error").hidden = !answer?.error;
    this.part("marks").replaceChildren(...(answer ? marks(answer) : []));
    this.part("figures").replaceChildren(...(answer?.state === "done" ? figures(answer) : []));
    this.part("figures").hidden = answer?.state !== "done";
    this.part("actions").hidden = !answer?.ended;
    this.button("stop").hidden = !this.running;
    this.showState();
    this.showTurns();
    this.showRepeats();
    const spread = spreadOf(this.answers, (repeat) => this.choose(repeat));
    this.part("spread").replaceChildren(...(spread ?? []));
    this.part("spread").hidden = !spread;
  }

  showText() {
    const output = this.part("output");
    output.toggleAttribute("aria-busy", Boolean(this.answer && !this.answer.ended));
    const waiting = this.answer && !this.answer.ended;
    output.dataset.empty = waiting ? "Waiting for the model…" : this.answer ? "Nothing was written." : HINT;
    const text = this.answer?.text ?? "";
    const base = this.base && this.base !== this && this.answer?.ended ? this.base.answer : null;
    output.classList.toggle("differs", Boolean(base?.ended));
    if (!base?.ended) output.textContent = text;
    else {
      output.replaceChildren(...diff(base.text, text).map(([kind, words]) =>
        kind === "same" ? document.createTextNode(words) : element(kind, { text: words })));
    }
  }

  showState() {
    const ended = this.answers.filter((answer) => answer.ended).length;
    const state = this.answer ? STATES[this.answer.state] : "";
    this.part("state").textContent = this.answers.length > 1 ? `${ended} of ${this.answers.length}` : state;
    this.el.dataset.state = this.answer?.state ?? "";
  }

  showTurns() {
    const turns = this.answer?.earlier ?? [];
    const said = (className, text) => element("p", { className, text });
    this.part("turns").hidden = !turns.length;
    this.part("turns").replaceChildren(...turns.map((turn) =>
      element("li", {}, said("turn-prompt", turn.prompt), said("turn-answer", turn.text || turn.error))));
    if (turns.length) this.part("turns").append(element("li", {}, said("turn-prompt", this.answer.prompt)));
  }

  showRepeats() {
    const group = this.part("repeats");
    group.hidden = this.answers.length < 2;
    if (group.hidden) return group.replaceChildren();
    const focused = group.contains(document.activeElement) ? document.activeElement.dataset.repeat : null;
    group.replaceChildren(...this.answers.map((answer, repeat) => element("button", {
      type: "button",
      text: String(repeat + 1),
      data: { repeat, state: answer.state },
      "aria-pressed": String(repeat === this.shown),
      "aria-label": `Answer ${repeat + 1}: ${STATES[answer.state].replace("…", "")}`,
    })));
    if (focused !== null) group.children[focused]?.focus();
    return undefined;
  }

  clicked(event) {
    const repeat = event.target.closest("[data-repeat]");
    if (repeat) this.choose(Number(repeat.dataset.repeat));
    const what = event.target.closest("[data-do]")?.dataset.do;
    if (what === "setup") this.fold(this.button("setup").getAttribute("aria-expanded") === "true");
    else if (what === "copy") copy(this.answer.text, "Answer");
    else if (what) this.act(what, this);
  }
}
