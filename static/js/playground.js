// The playground's Run button: posts the form to the API's stream and shows the answer as it comes.

const form = document.getElementById("playground");
const { prompt, systemPrompt, chatProfileId, model, temperature, topP, maxTokens } = form.elements;
const part = (id) => document.getElementById(id);
const [run, stop, copy, output, latency, progress, errorLine, usage, modelField] = [
  "run", "stop", "copy", "output", "latency", "progress", "error", "usage", "model-field",
].map(part);
let call = null;

function refresh() {
  run.disabled = call !== null || !prompt.value.trim();
  run.querySelector("span").textContent = call ? "Running…" : "Run";
  stop.hidden = progress.hidden = call === null;
  modelField.hidden = Boolean(chatProfileId.value);
  copy.hidden = !output.textContent;
}

function setSlider(slider, value) {
  slider.value = value;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
}

function takeOverProfile() {
  const { temperature: t, topP: p, maxTokens: m } = chatProfileId.selectedOptions[0].dataset;
  if (!chatProfileId.value) return;
  setSlider(temperature, t);
  setSlider(topP, p);
  maxTokens.value = m;
}

function body() {
  const settings = { temperature: Number(temperature.value), topP: Number(topP.value) };
  if (maxTokens.value) settings.maxTokens = Number(maxTokens.value);
  if (systemPrompt.value.trim()) settings.systemPrompt = systemPrompt.value;
  if (chatProfileId.value) settings.chatProfileId = chatProfileId.value;
  else if (model.value) {
    settings.modelName = model.value;
    settings.modelProvider = model.selectedOptions[0].dataset.provider;
  }
  return { prompt: prompt.value, ...settings };
}

function explain(problem) {
  const details = problem.details || {};
  if (details.message) return details.message;
  return Object.entries(details).map(([name, why]) => `${name}: ${[why].flat().join(" ")}`).join(" ");
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (pending + value).split("\n\n");
    pending = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      yield [fields.event, JSON.parse(fields.data)];
    }
  }
}

const show = {
  session() {},
  delta({ content }) {
    output.append(content);
  },
  done({ latencyMs, inputTokens, outputTokens }) {
    latency.textContent = `${latencyMs.toLocaleString("en")} ms`;
    usage.textContent = `${inputTokens ?? "?"} tokens in, ${outputTokens ?? "?"} tokens out`;
    usage.hidden = false;
  },
  error(problem) {
    errorLine.textContent = explain(problem);
    errorLine.hidden = false;
  },
};

async function start() {
  call = new AbortController();
  output.textContent = latency.textContent = "";
  errorLine.hidden = usage.hidden = true;
  output.setAttribute("aria-busy", "true");
  refresh();
  try {
    const response = await fetch(form.action, {
      method: "POST",
      signal: call.signal,
      headers: {
        "Content-Type": "application/json",
        "X-CSRFToken": form.elements.csrfmiddlewaretoken.value,
      },
      body: JSON.stringify(body()),
    });
    if (!response.ok) {
      show.error(await response.json());
      return;
    }
    let ended = false;
    for await (const [name, data] of events(response)) {
      show[name]?.(data);
      ended = ended || name === "done" || name === "error";
    }
    if (!ended) show.error({ details: { message: "The connection to the server was lost." } });
  } catch (problem) {
    const message = problem.name === "AbortError" ? "Stopped." : "The server cannot be reached.";
    show.error({ details: { message } });
  } finally {
    call = null;
    output.removeAttribute("aria-busy");
    refresh();
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!run.disabled) start();
});
form.addEventListener("input", refresh);
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
});
chatProfileId.addEventListener("change", () => {
  takeOverProfile();
  refresh();
});
stop.addEventListener("click", () => call?.abort());
copy.addEventListener("click", () => navigator.clipboard.writeText(output.textContent));
refresh();
