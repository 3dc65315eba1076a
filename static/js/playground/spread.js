// What many answers to the same question have in common: the distinct ones, their lengths, their latencies.

import { drawing, duration, element, number } from "./dom.js";

const BINS = 12;
const [WIDTH, HEIGHT, GAP] = [240, 36, 2];
const SHOWN = 120; // characters of an answer in the list
const LISTED = 10;

export function spreadOf(answers, choose) {
  const whole = answers.filter((answer) => answer.state === "done");
  if (whole.length < 2) return null;
  const groups = distinct(whole);
  const cold = whole.filter((answer) => answer.facts.coldStart).length;
  const latencies = whole.filter((answer) => !answer.facts.coldStart).map((answer) => answer.facts.latencyMs);
  const kinds = groups.length === 1 ? "all the same" : `${groups.length} different ones`;
  const parts = [
    element("h3", { text: `${whole.length} answers, ${kinds}` }),
    list(groups, choose),
    distribution("Length", whole.map((answer) => [...answer.text].length), number, " characters"),
  ];
  if (latencies.length) parts.push(distribution("Latency", latencies, duration));
  if (cold) parts.push(element("p", { className: "quiet", text: `Left out: ${cold} with a cold start.` }));
  return parts;
}

// Surrounding blanks make no difference.
function distinct(answers) {
  const groups = new Map();
  for (const answer of answers) {
    const key = answer.text.trim();
    groups.set(key, [...(groups.get(key) ?? []), answer]);
  }
  return [...groups.values()].sort((one, other) => other.length - one.length);
}

function list(groups, choose) {
  const items = groups.slice(0, LISTED).map((group) => {
    const text = group[0].text.trim() || "(empty)";
    const button = element("button", { type: "button", className: "distinct" },
      element("span", { className: "badge", text: `${group.length}×` }),
      element("span", { className: "distinct-text", text: text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text }));
    button.addEventListener("click", () => choose(group[0].repeat));
    return element("li", {}, button);
  });
  const more = groups.length - LISTED;
  if (more > 0) items.push(element("li", { className: "quiet", text: `and ${more} more` }));
  return element("ol", { className: "distincts" }, ...items);
}

export function middle(sorted) {
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

function distribution(name, values, told, unit = "") {
  const sorted = [...values].sort((one, other) => one - other);
  const [low, median, high] = [sorted[0], middle(sorted), sorted.at(-1)];
  const words = low === high ? `always ${told(low)}${unit}` : `${told(low)} to ${told(high)}${unit}, middle ${told(median)}`;
  return element("figure", { className: "distribution" },
    histogram(sorted, low, high),
    element("figcaption", { text: `${name}: ${words}` }));
}

// The words beside it tell the same, so that it is hidden from screen readers.
function histogram(values, low, high) {
  const counts = new Array(BINS).fill(0);
  const bin = (value) => (high > low ? Math.min(BINS - 1, Math.floor(((value - low) / (high - low)) * BINS)) : BINS >> 1);
  for (const value of values) counts[bin(value)] += 1;
  const [most, step] = [Math.max(...counts), WIDTH / BINS];
  const bars = counts.map((count, position) => {
    const height = count ? Math.max(3, (count / most) * HEIGHT) : 0;
    return drawing("rect", {
      class: "bar", x: position * step, y: HEIGHT - height, width: step - GAP, height, rx: 2,
    });
  });
  const ground = drawing("line", { class: "ground", x1: 0, y1: HEIGHT + 0.5, x2: WIDTH, y2: HEIGHT + 0.5 });
  return drawing("svg", {
    class: "histogram", viewBox: `0 0 ${WIDTH} ${HEIGHT + 1}`, "aria-hidden": "true", focusable: "false",
  }, ...bars, ground);
}
