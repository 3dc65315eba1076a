// The models page: copying a digest, and pulling a model with its progress.
import { events, explain } from "./sse.js";

const UNITS = ["bytes", "KB", "MB", "GB", "TB"];
const running = new Map(); // form -> what stops its download

document.addEventListener("click", async (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    await navigator.clipboard.writeText(copy.dataset.copy);
    say("Copied.");
  }
  const stop = event.target.closest("[data-pull-stop]");
  if (stop) running.get(stop.form)?.abort();
});

document.addEventListener("submit", (event) => {
  if (!event.target.matches("form[data-pull]")) return;
  event.preventDefault();
  if (!running.has(event.target)) pull(event.target);
});

// A dialog that closes takes its download with it: nobody would see how it ends.
document.addEventListener(
  "close",
  (event) => {
    const form = event.target.querySelector("form[data-pull]");
    if (form) running.get(form)?.abort();
  },
  true,
);

async function pull(form) {
  const call = new AbortController();
  running.set(form, call);
  show(form, { status: "Asking the server…", error: "", fraction: null });
  try {
    const response = await fetch(form.action, {
      method: "POST",
      signal: call.signal,
      headers: {
        "Content-Type": "application/json",
        "X-CSRFToken": form.elements.csrfmiddlewaretoken.value,
      },
      body: JSON.stringify({ modelName: form.elements.modelName.value.trim() }),
    });
    await (response.ok ? follow(form, response) : fail(form, await response.json()));
  } catch (problem) {
    const stopped = problem.name === "AbortError";
    fail(form, { details: { message: stopped ? "Stopped." : "The server cannot be reached." } });
  } finally {
    running.delete(form);
    show(form, {});
  }
}

async function follow(form, response) {
  let ended = false;
  for await (const [name, data] of events(response)) {
    if (name === "progress") show(form, told(data));
    if (name === "error") fail(form, data);
    if (name === "done") {
      show(form, { status: `${data.modelName} is there. ${counts(data)}`, fraction: 1 });
      const registry = document.getElementById("registry");
      window.htmx.ajax("GET", registry.dataset.url, { target: registry });
    }
    ended = name !== "progress";
  }
  if (!ended) fail(form, { details: { message: "The connection to the server was lost." } });
}

function told({ endpoint, endpoints, status, completedBytes, totalBytes }) {
  const where = endpoints > 1 ? `Server ${endpoint} of ${endpoints}: ` : "";
  const share = totalBytes ? completedBytes / totalBytes : null;
  const sizes = totalBytes ? ` · ${size(completedBytes)} of ${size(totalBytes)}, ${Math.floor(share * 100)} %` : "";
  return { status: `${where}${status}${sizes}`, fraction: share };
}

function counts({ added, updated }) {
  if (added.length) return `${added.length} new in the registry.`;
  return updated.length ? "The registry has its new version." : "The registry knew it already.";
}

function size(bytes) {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  return `${(bytes / 1000 ** power).toFixed(power ? 1 : 0)} ${UNITS[power]}`;
}

function fail(form, problem) {
  show(form, { status: "", error: explain(problem) });
}

// What is not named stays as it is.
function show(form, { status, error, fraction }) {
  const busy = running.has(form);
  const [bar, line, alert] = [".progress", ".pull-status", ".error-text"].map((name) => form.querySelector(name));
  if (status !== undefined) line.textContent = status;
  if (error !== undefined) {
    alert.textContent = error;
    alert.hidden = !error;
  }
  if (fraction === null) bar.removeAttribute("value");
  else if (fraction !== undefined) bar.value = fraction;
  bar.hidden = !busy && bar.value !== 1;
  form.querySelector("[data-pull-stop]").hidden = !busy;
  form.querySelector("[type=submit]").disabled = form.elements.modelName.readOnly = busy;
}

function say(text) {
  const message = document.createElement("p");
  message.textContent = text;
  document.getElementById("snackbar").replaceChildren(message);
}
