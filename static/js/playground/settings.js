// A column's settings: between the fields of its form and what the API takes.

const field = (column, name) => column.querySelector(`[name="${name}"]`);

export class BadSetting extends Error {}

function numberOf(input) {
  if (input.validity.badInput) throw new BadSetting(`${input.labels[0].textContent}: This is no number.`);
  return input.value === "" ? undefined : Number(input.value);
}

function stops(text) {
  const lines = text.split("\n").filter(Boolean);
  return lines.length ? lines.map((line) => line.replaceAll("\\n", "\n").replaceAll("\\t", "\t")) : undefined;
}

function format(choice, schema) {
  if (choice !== "schema") return choice || undefined;
  try {
    return JSON.parse(schema);
  } catch (problem) {
    throw new BadSetting(`JSON schema: This is no JSON. ${problem.message}`);
  }
}

const THINK = { true: true, false: false };

// As the API takes them. Raises BadSetting for what is no number or no JSON; the server judges all the rest.
export function read(column) {
  const at = (name) => field(column, name);
  const settings = {
    temperature: Number(at("temperature").value),
    topP: Number(at("topP").value),
    maxTokens: numberOf(at("maxTokens")),
    seed: numberOf(at("seed")),
    stop: stops(at("stop").value),
    format: format(at("format").value, at("schema").value),
    think: at("think").value ? THINK[at("think").value] ?? at("think").value : undefined,
    systemPrompt: at("systemPrompt").value.trim() ? at("systemPrompt").value : undefined,
  };
  if (at("chatProfileId").value) settings.chatProfileId = at("chatProfileId").value;
  else if (at("model").value) {
    settings.modelName = at("model").value;
    settings.modelProvider = at("model").selectedOptions[0].dataset.provider;
  }
  return Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== undefined));
}

function setSlider(slider, value) {
  slider.value = value;
  slider.parentElement.querySelector("output").textContent = slider.value;
}

// Everything as it is in `values` (the API's names); what is missing there stays as the page has it.
export function write(column, values) {
  const at = (name) => field(column, name);
  if (typeof values.temperature === "number") setSlider(at("temperature"), values.temperature);
  if (typeof values.topP === "number") setSlider(at("topP"), values.topP);
  at("maxTokens").value = values.maxTokens ?? "";
  at("seed").value = values.seed ?? "";
  at("stop").value = (values.stop ?? []).map((text) => text.replaceAll("\n", "\\n").replaceAll("\t", "\\t")).join("\n");
  const schema = values.format && typeof values.format === "object";
  at("format").value = schema ? "schema" : values.format ?? "";
  at("schema").value = schema ? JSON.stringify(values.format, null, 2) : "";
  at("think").value = values.think === undefined || values.think === null ? "" : String(values.think);
  at("systemPrompt").value = values.systemPrompt ?? "";
  at("chatProfileId").value = values.chatProfileId ?? "";
  if (at("chatProfileId").selectedIndex < 0) at("chatProfileId").value = "";
  if (values.modelName) chooseModel(at("model"), values);
}

// A model that is offered no more is named all the same: running it then says so, in its place.
function chooseModel(select, { modelName, modelProvider }) {
  const fits = (option) =>
    option.value === modelName && (!modelProvider || option.dataset.provider === modelProvider);
  let option = [...select.options].find(fits);
  if (!option) {
    option = new Option(`${modelName} (not available)`, modelName);
    if (modelProvider) option.dataset.provider = modelProvider;
    select.add(option);
  }
  option.selected = true;
}

// The profile's settings into the fields, where they can be changed for this column.
export function takeOverProfile(column) {
  const profile = field(column, "chatProfileId").selectedOptions[0];
  if (!profile.value) return;
  setSlider(field(column, "temperature"), profile.dataset.temperature);
  setSlider(field(column, "topP"), profile.dataset.topP);
  field(column, "maxTokens").value = profile.dataset.maxTokens;
}

// In a few words, for the head of a column whose settings are folded away.
export function summary(column) {
  const at = (name) => field(column, name);
  const parts = [`temperature ${at("temperature").value}`, `top-p ${at("topP").value}`];
  if (at("maxTokens").value) parts.push(`at most ${at("maxTokens").value} tokens`);
  if (at("seed").value) parts.push(`seed ${at("seed").value}`);
  if (at("format").value) parts.push(at("format").value === "json" ? "JSON" : "JSON by a schema");
  if (at("think").value) parts.push(`thinking ${at("think").selectedOptions[0].text.toLowerCase()}`);
  if (at("systemPrompt").value.trim()) parts.push("with a system prompt");
  return parts.join(" · ");
}

export function title(column) {
  const profile = field(column, "chatProfileId");
  return profile.value ? profile.selectedOptions[0].text : field(column, "model").value || "No model";
}
