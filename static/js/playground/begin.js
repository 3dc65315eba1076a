// What the bench begins with: something from the address after #, which no server ever sees, or a stored session.
//
//   #open={"prompt": ..., "variables": {...}, "columns": [{...}, ...]}   URI-encoded JSON; columns as the API takes them
//
// The template tag `open_in_playground` makes such addresses. Whatever is strange in one is left out.

import { get } from "./api.js";
import { Answer } from "./answers.js";

const LONGEST = 2_000_000; // characters of the address
const TEXTS = ["chatProfileId", "modelProvider", "modelName", "systemPrompt"];
const NUMBERS = ["temperature", "topP", "maxTokens", "seed"];

export function fromAddress() {
  const { hash } = location;
  if (!hash.startsWith("#open=") || hash.length > LONGEST) return null;
  history.replaceState(null, "", location.pathname + location.search); // a reload begins anew
  try {
    return cleaned(JSON.parse(decodeURIComponent(hash.slice("#open=".length))));
  } catch {
    return null;
  }
}

function cleaned({ prompt, variables, columns }) {
  const isText = (value) => typeof value === "string";
  const named = Object.entries(variables ?? {}).filter(([, value]) => isText(value));
  return {
    prompt: isText(prompt) ? prompt : "",
    variables: Object.fromEntries(named),
    columns: Array.isArray(columns) ? columns.map(column) : [],
  };
}

function column(given) {
  const kept = {};
  for (const name of TEXTS) if (typeof given?.[name] === "string") kept[name] = given[name];
  for (const name of NUMBERS) if (Number.isFinite(given?.[name])) kept[name] = given[name];
  if (Array.isArray(given?.stop)) kept.stop = given.stop.filter((text) => typeof text === "string");
  const { format, think } = given ?? {};
  if (format === "json" || (format && typeof format === "object" && !Array.isArray(format))) kept.format = format;
  if (typeof think === "boolean" || typeof think === "string") kept.think = think;
  return kept;
}

// A comparison, or a session that is none, as the API tells of it.
export async function fromApi(path) {
  const told = await get(path);
  const { comparison } = told;
  const sessions = comparison?.sessions ?? [told.session];
  const prompt = comparison?.prompt ?? sessions[0]?.messages.find(({ role }) => role === "user")?.content ?? "";
  const columns = new Map();
  for (const session of sessions) {
    if (!columns.has(session.column)) columns.set(session.column, { values: valuesOf(session), answers: [] });
    const { answers } = columns.get(session.column);
    const answer = lastOf(session);
    answer.repeat = answers.length;
    answers.push(answer);
  }
  return { prompt, variables: comparison?.variables ?? {}, repeats: comparison?.repeats ?? 1, columns: [...columns.values()] };
}

function valuesOf(session) {
  const { seed, stop, format, think } = session.parameters;
  return {
    chatProfileId: session.chatProfileId,
    modelProvider: session.modelProvider,
    modelName: session.modelName,
    systemPrompt: session.systemPrompt ?? "",
    temperature: session.temperature,
    topP: session.topP,
    maxTokens: session.maxTokens,
    seed,
    stop,
    format,
    think,
  };
}

// The last question with its answer, and all that was said before.
function lastOf(session) {
  const turns = [];
  for (const message of session.messages) {
    if (message.role === "user") turns.push([message, null]);
    else if (message.role === "assistant" && turns.length) turns.at(-1)[1] = message;
  }
  const answers = turns.map(([asked, answered]) => Answer.of(session, asked, answered));
  const last = answers.pop() ?? Answer.of(session, null, null);
  last.earlier = answers;
  return last;
}
