// A batch on the page as it goes on. One stream of events tells the figures; cells that have changed are
// fetched. While the stream says nothing (it fails, it ends, a proxy holds it back) the page asks by itself.
const CELLS_MS = 1_000; // at least so long between two requests for cells
const OTHERS_MS = 3_000; // and where all on the page have closed
const OPEN = "#cells :is([data-state=queued], [data-state=running])";
const POLL_MS = 4_000;
const GIVE_UP_AFTER = 5; // failures of the stream in a row
const TRY_AGAIN_MS = 60_000;

let address = ""; // of the events of the batch on the page
let stream = null;
let failures = 0;
let polling = 0;
let again = 0;
let timer = 0; // of the next request for cells
let due = Infinity;
let asked = 0;
let asking = null; // ends our own request
let pressed = null; // the request of a button: no answer of ours may be older than its answer

const number = (value) => value.toLocaleString("en");
const say = {
  done: ({ counts, total }) =>
    `${number(counts.succeeded + counts.failed + counts.cancelled)} of ${number(total)} done`,
  speed: ({ state, throughput: speed }) => {
    if (!speed || state !== "running") return "";
    return speed < 1 ? `${(speed * 60).toFixed(1)} cells/min` : `${speed.toFixed(1)} cells/s`;
  },
  timeLeft: ({ etaSeconds: seconds }) => {
    if (seconds === null) return "";
    if (seconds < 60) return `about ${Math.ceil(seconds)} s left`;
    if (seconds < 5_400) return `about ${Math.ceil(seconds / 60)} min left`;
    return `about ${Math.ceil(seconds / 3_600)} h left`;
  },
  tokens: ({ tokens, tokenBudget }) => `${number(tokens)} of ${number(tokenBudget)} tokens`,
};

const card = () => document.querySelector("[data-events]");

function paint(batch) {
  for (const part of card().querySelectorAll("[data-live]")) {
    part.textContent = say[part.dataset.live](batch);
  }
  for (const part of card().querySelectorAll("[data-count]")) {
    const count = batch.counts[part.dataset.count];
    part.textContent = number(count);
    part.parentElement.hidden = !count;
  }
  card().querySelector("progress").value = batch.total - batch.counts.queued - batch.counts.running;
}

function soon(pause) {
  const at = Math.max(Date.now(), asked + pause);
  if (!address || at >= due) return;
  clearTimeout(timer);
  due = at;
  timer = setTimeout(() => update(), at - Date.now());
}

async function update(wishes = {}) {
  due = Infinity;
  asked = Date.now();
  const runs = document.getElementById("runs");
  const shown = runs?.querySelector("[data-update]");
  if (!shown) return;
  if (pressed && pressed.readyState !== XMLHttpRequest.DONE) {
    soon(CELLS_MS);
    return;
  }
  const query = new URLSearchParams([...new URLSearchParams(location.search), ...Object.entries(wishes)]);
  for (const cell of runs.querySelectorAll("[data-shown]")) query.append(cell.name, cell.value);
  asking = new AbortController();
  try {
    const answer = await fetch(`${shown.dataset.update}?${query}`, {
      headers: { "HX-Request": "true" },
      signal: asking.signal,
    });
    const parts = await answer.text();
    if (answer.redirected || (answer.status >= 400 && answer.status < 500)) {
      hush(); // signed out, or the batch is gone
      return;
    }
    if (answer.ok && runs.isConnected) htmx.swap(runs, parts, { swapStyle: "none" });
    else soon(OTHERS_MS);
  } catch {
    soon(OTHERS_MS); // a button was pressed, or the server cannot be reached
  }
  watch();
}

function heard(batch, isFirst) {
  failures = 0;
  clearInterval(polling);
  polling = 0;
  if (card()?.dataset.events !== address) return;
  const news = isFirst || batch.state !== card().dataset.state || batch.finishedAt !== null;
  paint(batch);
  if (news) soon(0);
  else soon(document.querySelector(OPEN) ? CELLS_MS : OTHERS_MS);
}

function listen() {
  let isFirst = true;
  stream = new EventSource(address);
  polling ||= setInterval(() => soon(0), POLL_MS);
  stream.addEventListener("progress", ({ data }) => {
    heard(JSON.parse(data), isFirst);
    isFirst = false;
  });
  stream.addEventListener("finished", ({ data, target }) => {
    target.close();
    heard(JSON.parse(data), true);
  });
  stream.addEventListener("error", ({ target }) => {
    isFirst = true;
    failures += 1;
    polling ||= setInterval(() => soon(0), POLL_MS);
    if (target.readyState !== EventSource.CLOSED && failures < GIVE_UP_AFTER) return;
    target.close();
    again = setTimeout(listen, TRY_AGAIN_MS);
  });
}

function hush() {
  stream?.close();
  asking?.abort();
  clearTimeout(timer);
  clearTimeout(again);
  clearInterval(polling);
  due = Infinity;
  polling = failures = 0;
}

// A page in the background lets its stream go: browsers allow six connections to a server in all.
function watch() {
  const wanted = document.hidden ? "" : (card()?.dataset.events ?? "");
  if (wanted === address) return;
  hush();
  address = wanted;
  if (address) listen();
}

document.addEventListener("visibilitychange", watch);
document.addEventListener("evaluations-ended", () => update({ scored: "" }));
document.addEventListener("htmx:afterSettle", watch);
document.addEventListener("htmx:beforeRequest", (event) => {
  if (!event.target.closest(".experiment-detail, #run-options")) return;
  if (event.target.id === "evaluators-card") return; // it asks by itself, and for nothing of ours
  pressed = event.detail.xhr;
  asking?.abort();
});
watch();
