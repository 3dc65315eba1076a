// The product's JSON API, with the session's cookie and its CSRF token.

const form = document.getElementById("playground");
export const ORG = form.dataset.orgApi; // /api/v1/orgs/ID

const headers = () => ({
  "Content-Type": "application/json",
  "X-CSRFToken": form.elements.csrfmiddlewaretoken.value,
});

// What an error says, for people. `rename` may replace a field's dotted path.
export function explain({ error, details = {} }, rename = (name) => name) {
  if (details.message) return details.message;
  const reasons = Object.entries(details)
    .filter(([, why]) => Array.isArray(why))
    .map(([name, why]) => `${rename(name)}: ${why.join(" ")}`);
  return reasons.join(" ") || error || "That did not work.";
}

export class Refused extends Error {
  constructor(problem) {
    super(explain(problem));
    this.problem = problem;
  }
}

async function problemOf(response) {
  try {
    return await response.json();
  } catch {
    return { details: { message: `The server answered with ${response.status}.` } };
  }
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (trouble) {
    if (trouble.name === "AbortError") throw trouble;
    throw new Refused({ details: { message: "The server cannot be reached." } });
  }
  if (!response.ok) throw new Refused(await problemOf(response));
  return response;
}

export const get = async (path) => (await call(path)).json();

export const post = async (path, body) =>
  (await call(path, { method: "POST", headers: headers(), body: JSON.stringify(body) })).json();

// The events of a stream that answers a POST, as [name, data].
export async function* stream(path, body, signal) {
  const response = await call(path, { method: "POST", headers: headers(), body: JSON.stringify(body), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (pending + value).split("\n\n");
    pending = blocks.pop();
    for (const block of blocks) {
      if (block.startsWith(":")) continue; // a sign of life
      const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      yield [fields.event, JSON.parse(fields.data)];
    }
  }
}
