// What was found on the bench goes on: into an experiment, into a chat profile, into a program.

import { ORG, Refused, get, post } from "./api.js";
import { copy, say } from "./dom.js";
import * as snippets from "./snippets.js";

const LISTED = 200;
const HOLDS_INPUT = /\{\{\s*(?:input|metadata\.[\w.-]+)\s*\}\}/;
let asked = null; // what the dialog that is open is about

const dialog = (name) => document.getElementById(`${name}-dialog`);
const form = (name) => dialog(name).querySelector("form");

// Settings that are the model's, as a chat profile and a variant name them.
function model({ settings, facts }) {
  const name = settings.modelName ?? facts.modelName;
  const provider = settings.modelProvider ?? facts.modelProvider;
  return { ...(name ? { modelName: name } : {}), ...(provider ? { modelProvider: provider } : {}) };
}

function variantBody(fields) {
  const { systemPrompt, chatProfileId, ...config } = asked.settings;
  return {
    name: fields.name.value.trim(),
    ...(systemPrompt ? { systemPrompt } : {}),
    ...(chatProfileId ? { chatProfileId } : {}),
    config: {
      ...config,
      ...(chatProfileId ? {} : model(asked)),
      ...(fields.template.checked ? { promptTemplate: asked.prompt } : {}),
    },
  };
}

function inputBody(fields) {
  const input = { key: fields.key.value.trim(), content: fields.content.value };
  return { inputs: [fields.expected.value ? { ...input, expected: fields.expected.value } : input] };
}

async function profileBody(fields) {
  const { chatProfileId, temperature, topP, maxTokens } = asked.settings;
  let { systemPrompt } = asked.settings;
  if (chatProfileId && !systemPrompt) {
    ({ systemPrompt } = (await get(`${ORG}/chat-profiles/${chatProfileId}`)).chatProfile);
  }
  return {
    name: fields.name.value.trim(),
    ...model(asked),
    ...(systemPrompt ? { systemPrompt } : {}),
    temperature,
    topP,
    ...(maxTokens ? { maxTokens } : {}),
  };
}

const HANDOVERS = {
  variant: {
    path: (fields) => `${ORG}/experiments/${fields.experiment.value}/variants`,
    body: variantBody,
    done: (fields) => `Added to ${fields.experiment.selectedOptions[0].text}.`,
  },
  input: {
    path: (fields) => `${ORG}/experiments/${fields.experiment.value}/inputs`,
    body: inputBody,
    done: (fields) => `Added to ${fields.experiment.selectedOptions[0].text}.`,
  },
  profile: {
    path: () => `${ORG}/chat-profiles`,
    body: profileBody,
    done: (fields) => `Saved as ${fields.name.value.trim()}.`,
  },
};

export function open(what, about) {
  asked = about;
  if (what === "code") showCode();
  else show(what);
}

function showCode() {
  const base = new URL(ORG, location.href).href;
  document.getElementById("curl-code").textContent = snippets.curl(asked, base);
  document.getElementById("python-code").textContent = snippets.python(asked, base);
  dialog("code").showModal();
}

function show(what) {
  const fields = form(what).elements;
  form(what).reset();
  complain(what, "");
  if (what === "variant") {
    const fits = HOLDS_INPUT.test(asked.prompt);
    form(what).querySelector("[data-part=template-choice]").hidden = !fits;
    fields.template.checked = fits;
    fields.name.value = asked.title.slice(0, 128);
    tell(what, `With ${told(asked)}.`);
  } else if (what === "input") {
    fields.content.value = asked.filled;
    fields.expected.value = asked.answer;
  } else tell(what, `With ${told(asked)}.`);
  dialog(what).showModal();
  refresh(form(what));
  if (fields.experiment) listExperiments(what);
}

function told({ settings, facts }) {
  const name = settings.modelName ?? facts.modelName ?? "the default model";
  const parts = [name, `temperature ${settings.temperature}`, `top-p ${settings.topP}`];
  if (settings.maxTokens) parts.push(`at most ${settings.maxTokens} tokens`);
  if (settings.systemPrompt) parts.push("its system prompt");
  return parts.join(", ");
}

const tell = (what, words) => (form(what).querySelector("[data-part=tells]").textContent = words);
const refresh = (changed) => changed.dispatchEvent(new Event("input", { bubbles: true }));

function complain(what, words) {
  const line = form(what).querySelector(".error-text");
  line.textContent = words;
  line.hidden = !words;
}

async function listExperiments(what) {
  const { experiment, key } = form(what).elements;
  try {
    const { experiments } = await get(`${ORG}/experiments?nested=false&limit=${LISTED}`);
    const chosen = experiment.value;
    experiment.replaceChildren(...experiments.map(({ id, name, inputCount }) => {
      const option = new Option(name, id);
      option.dataset.next = `case_${inputCount + 1}`;
      return option;
    }));
    if (chosen && experiments.some(({ id }) => id === chosen)) experiment.value = chosen;
    if (!experiments.length) complain(what, "There is no experiment yet: make one on the page Experiments first.");
    else if (key) key.value = experiment.selectedOptions[0].dataset.next;
    refresh(form(what));
  } catch (problem) {
    if (!(problem instanceof Refused)) throw problem;
    complain(what, problem.message);
  }
}

async function hand(what) {
  const { path, body, done } = HANDOVERS[what];
  const fields = form(what).elements;
  const button = form(what).querySelector("[type=submit]");
  button.disabled = true;
  complain(what, "");
  try {
    const answered = await post(path(fields), await body(fields));
    dialog(what).close();
    say(done(fields));
    return answered;
  } catch (problem) {
    if (!(problem instanceof Refused)) throw problem;
    complain(what, problem.message);
    return null;
  } finally {
    button.disabled = false;
  }
}

// `saved` is called with each new chat profile.
export function listen(saved) {
  document.addEventListener("submit", async (event) => {
    const what = event.target.dataset?.handover;
    if (!what) return;
    event.preventDefault();
    const answered = await hand(what);
    if (answered?.chatProfile) saved(answered.chatProfile);
  });
  document.addEventListener("change", (event) => {
    const { name, form: changed } = event.target;
    if (name !== "experiment" || changed?.dataset.handover !== "input") return;
    changed.elements.key.value = event.target.selectedOptions[0].dataset.next;
  });
  document.addEventListener("click", (event) => {
    const source = event.target.closest("[data-copy]")?.dataset.copy;
    if (source) copy(document.getElementById(source).textContent, source === "curl-code" ? "Command" : "Program");
  });
}
