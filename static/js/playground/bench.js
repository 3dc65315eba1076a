// The bench: one prompt, up to six columns, one stream for all of them.

import { announce } from "./announcer.js";
import { ORG, Refused, explain, post, stream } from "./api.js";
import { fromAddress, fromApi } from "./begin.js";
import { Column } from "./column.js";
import { number } from "./dom.js";
import * as handover from "./handover.js";
import { BadSetting, title } from "./settings.js";
import { Variables, filled } from "./variables.js";

const MOST_COLUMNS = 6;
const part = (id) => document.getElementById(id);
const form = part("playground");
const [run, stop, latency, progress, runBox, runError, addColumn, times, continues, diffBase] = [
  "run", "stop", "latency", "progress", "run-box", "run-error", "add-column", "times", "continue", "diff-base",
].map(part);
const { prompt } = form.elements;
const variables = new Variables(part("variables"));
const columns = [];
let call = null; // while it runs: { controller, comparisonId, asked, started }

// --- columns

function add(values, { after = columns.length - 1, folded = false } = {}) {
  const column = new Column(act);
  column.folded = folded;
  columns.splice(after + 1, 0, column);
  if (values) column.write(values);
  arrange();
  return column;
}

function arrange() {
  const many = columns.length > 1;
  form.toggleAttribute("data-single", !many);
  part("columns").replaceChildren(...columns.map((column) => column.el));
  part("columns").dataset.count = columns.length;
  columns.forEach((column, position) => column.place(position, columns.length));
  const slot = many ? form.querySelector(".prompt-card [data-slot=run]") : columns[0].el.querySelector("[data-slot=run]");
  if (runBox.parentElement !== slot) moved(() => slot.append(runBox));
  refresh();
}

// Moving the focused button takes the focus from it.
function moved(move) {
  const focused = runBox.contains(document.activeElement) ? document.activeElement : null;
  move();
  focused?.focus();
}

function remove(column) {
  const position = columns.indexOf(column);
  if (columns.length < 2 || column.running) return;
  columns.splice(position, 1);
  arrange();
  (columns[Math.min(position, columns.length - 1)].button("remove") ?? addColumn).focus();
  announce(`Column removed, ${columns.length} left.`);
}

function duplicate(column) {
  if (columns.length >= MOST_COLUMNS) return;
  try {
    const copied = add(column.read(), { after: columns.indexOf(column), folded: column.folded });
    copied.el.scrollIntoView({ inline: "nearest", block: "nearest" });
    copied.button("duplicate").focus();
    announce(`Column ${copied.letter} is a copy of ${column.letter}.`);
  } catch (problem) {
    if (!(problem instanceof BadSetting)) throw problem;
    column.refuse(problem.message);
  }
}

function act(what, column) {
  if (what === "changed") refresh();
  else if (what === "ended") ended(column);
  else if (what === "remove") remove(column);
  else if (what === "duplicate") duplicate(column);
  else if (what === "stop") stopColumn(column);
  else handover.open(what, aboutAnswer(column));
}

function aboutAnswer(column) {
  const { settings, prompt: written, variables: values } = column.asked;
  return {
    settings,
    prompt: written,
    variables: values,
    filled: column.answer.prompt,
    answer: column.answer.text,
    facts: column.answer.facts,
    title: title(column.el),
  };
}

// --- what can be done now

function refresh() {
  if (!columns.length) return;
  const running = call !== null;
  const going = columns.some((column) => column.session);
  part("continue-choice").hidden = !going;
  if (!going) continues.checked = false;
  const further = continues.checked;
  run.disabled = running || !prompt.value.trim() || !variables.complete || !times.validity.valid;
  run.querySelector("span").textContent = running ? "Running…" : further ? "Send" : "Run";
  stop.hidden = progress.hidden = !running;
  stop.querySelector("span").textContent = columns.length > 1 ? "Stop all" : "Stop";
  times.disabled = further;
  times.labels[0].querySelector("span").textContent = times.value === "1" ? "time" : "times";
  addColumn.disabled = running || columns.length >= MOST_COLUMNS;
  addColumn.title = columns.length >= MOST_COLUMNS ? `At most ${MOST_COLUMNS} columns` : "";
  for (const column of columns) {
    column.setup.disabled = further && Boolean(column.session);
    column.button("remove").disabled = running;
    column.button("duplicate").disabled = running || columns.length >= MOST_COLUMNS;
  }
  refreshDiff();
}

function refreshDiff() {
  const answered = columns.filter((column) => column.answer?.text);
  part("diff-bar").hidden = columns.length < 2 || answered.length < 2;
  const wanted = part("diff-bar").hidden ? "" : diffBase.value;
  const options = [new Option("nothing", ""), ...columns.map((column) => new Option(column.name, column.letter))];
  diffBase.replaceChildren(...options);
  diffBase.value = wanted;
  if (diffBase.selectedIndex < 0) diffBase.value = "";
  const base = columns.find((column) => column.letter === diffBase.value) ?? null;
  for (const column of columns) {
    const changed = column.base !== base || (base && base.answer !== column.against);
    column.base = base;
    column.against = base?.answer;
    if (changed && column.answer?.ended) column.showText();
  }
}

function ended(column) {
  const { answer } = column;
  const name = columns.length > 1 ? `Column ${column.letter}` : "The answer";
  if (!column.running) {
    announce(answer.state === "done" ? `${name} is there.` : `${name}: ${answer.error}`);
    refresh();
    if (diffBase.value) columns.forEach((other) => other.answer?.ended && other.showText());
  }
  showTime();
}

function showTime() {
  const all = columns.flatMap((column) => column.answers);
  if (all.length === 1 && all[0].state === "done") latency.textContent = `${number(all[0].facts.latencyMs)} ms`;
  else if (all.length > 1) latency.textContent = `${all.filter((answer) => answer.ended).length} of ${all.length}`;
}

// --- running

// What each column asks; columns without a session do not take part in going on.
function requests() {
  const further = continues.checked;
  const asked = [];
  let bad = null;
  for (const column of columns) {
    column.refuse("");
    try {
      const settings = column.read();
      if (!further) asked.push({ column, body: settings, settings });
      else if (column.session) asked.push({ column, body: { sessionId: column.session }, settings });
    } catch (problem) {
      if (!(problem instanceof BadSetting)) throw problem;
      column.refuse(problem.message);
      bad ??= column;
    }
  }
  return bad ? null : asked;
}

function problem(words) {
  runError.textContent = words;
  runError.hidden = !words;
}

async function start() {
  problem("");
  const asked = requests();
  if (!asked) return;
  const further = continues.checked;
  const values = variables.fields.length ? variables.values : null;
  const repeats = further ? 1 : Number(times.value) || 1;
  const body = { prompt: prompt.value, columns: asked.map((one) => one.body), repeats };
  if (values) body.variables = values;
  call = { controller: new AbortController(), comparisonId: null, asked };
  latency.textContent = "";
  const shown = filled(prompt.value, values ?? {});
  refresh();
  let begun = false;
  try {
    for await (const [name, data] of stream(form.action, body, call.controller.signal)) {
      if (name === "start") {
        begun = true;
        call.comparisonId = data.comparisonId;
        begin(asked, repeats, shown, { further, values });
      } else if (name === "end") call.over = true;
      else if (data.column === undefined) {
        lost(asked, explain(data));
        call.over = true;
      } else asked[data.column].column.take(name, data);
      if (name === "session") remember(data.sessionId);
    }
    if (begun && !call.over) lost(asked, "The connection to the server was lost.");
  } catch (trouble) {
    if (begun) lost(asked, trouble.name === "AbortError" ? "Stopped." : "The connection to the server was lost.");
    else if (trouble instanceof Refused) refused(trouble.problem, asked);
    else if (trouble.name !== "AbortError") throw trouble;
  } finally {
    call = null;
    if (begun) finished(further);
    refresh();
  }
}

function begin(asked, repeats, shown, { further, values }) {
  for (const { column, settings } of asked) {
    column.expect(repeats, shown, { further, asked: { settings, prompt: prompt.value, variables: values } });
    if (columns.length > 1) column.fold(true);
  }
  announce(columns.length > 1 ? `${asked.length} columns are asked.` : "The model is asked.");
}

const lost = (asked, reason) => asked.forEach(({ column }) => column.close(reason));

function finished(further) {
  if (further) {
    prompt.value = "";
    variables.show("");
  }
  showTime();
  if (columns.length > 1 || columns[0].answers.length > 1) announce("All answers are there.");
}

// The server refused all of it before any model was asked: the reason where it belongs.
function refused(told, asked) {
  const { column: number } = told.details ?? {};
  const paths = Object.keys(told.details ?? {}).map((path) => path.match(/^columns\.(\d+)\./));
  const blamed = new Set(paths.filter(Boolean).map((found) => Number(found[1])));
  if (typeof number === "number") asked[number].column.refuse(explain(told));
  else if (blamed.size) {
    for (const position of blamed) {
      const prefix = `columns.${position}.`;
      const own = Object.entries(told.details).filter(([path]) => path.startsWith(prefix));
      asked[position].column.refuse(explain({ details: Object.fromEntries(own) }, (path) => path.slice(prefix.length)));
    }
  } else problem(explain(told));
}

// The address leads back to what is shown.
let remembered = null;
function remember(sessionId) {
  if (remembered === call.comparisonId || continues.checked) return;
  remembered = call.comparisonId;
  history.replaceState(null, "", form.dataset.sessionPage.replace("SESSION", sessionId));
}

// --- stopping

async function askToStop(body) {
  if (!call?.comparisonId) return call?.controller.abort();
  try {
    await post(`${ORG}/playground/comparisons/${call.comparisonId}/stop`, body);
  } catch {
    call?.controller.abort(); // leaving ends it as well
  }
  return undefined;
}

function stopColumn(column) {
  const position = call?.asked.findIndex((one) => one.column === column) ?? -1;
  if (position >= 0) askToStop({ column: position });
}

// --- beginning

async function open(path) {
  try {
    const told = await fromApi(path);
    fill(told, told.columns.map(({ values }) => values));
    times.value = told.repeats;
    told.columns.forEach(({ values, answers }, position) => {
      if (!columns[position]) return;
      const settings = columns[position].read();
      columns[position].restore(answers, { settings, prompt: told.prompt, variables: told.variables });
      columns[position].fold(told.columns.length > 1);
    });
    showTime();
    arrange();
  } catch (trouble) {
    if (!(trouble instanceof Refused)) throw trouble;
    problem(trouble.message);
  }
}

function fill({ prompt: text, variables: values }, given) {
  prompt.value = text;
  variables.show(text, values);
  given.slice(0, MOST_COLUMNS).forEach((one, position) => {
    if (position) add(one, { folded: true });
    else columns[0].write(one);
  });
  if (given.length > 1) columns[0].folded = true;
  arrange();
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!run.disabled) start();
});
form.addEventListener("input", (event) => {
  if (event.target === prompt) variables.show(prompt.value);
  refresh();
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
continues.addEventListener("change", () => {
  if (continues.checked) {
    prompt.value = "";
    variables.show("");
    prompt.focus();
  }
  refresh();
});
diffBase.addEventListener("change", refreshDiff);
stop.addEventListener("click", () => askToStop({}));
addColumn.addEventListener("click", () => {
  const last = columns.at(-1);
  duplicate(last);
  if (columns.at(-1) !== last) {
    if (columns.length === 2) columns[0].fold(true);
    columns.at(-1).fold(false);
  }
});
handover.listen(({ id, name, temperature, topP, maxTokens, modelName, modelProvider }) => {
  const selects = [part("column-template").content, ...columns.map((column) => column.el)];
  for (const holder of selects) {
    const option = new Option(name, id);
    Object.assign(option.dataset, { temperature, topP, maxTokens: maxTokens ?? "", model: modelName, provider: modelProvider });
    holder.querySelector("[name=chatProfileId]").add(option);
  }
});

add();
addEventListener("hashchange", () => location.reload()); // an address with something to begin with
const given = fromAddress();
if (given) fill(given, given.columns);
else if (form.dataset.open) await open(form.dataset.open);
