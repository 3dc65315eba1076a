// The words in which two texts differ, by Myers' algorithm.

const WORDS = /\s+|[\p{L}\p{N}\p{M}_]+|[^\s\p{L}\p{N}\p{M}_]/gu;
const MOST_EDITS = 1500; // beyond, what lies between the equal ends is shown as replaced as a whole

const words = (text) => text.match(WORDS) ?? [];

// [["same" | "del" | "ins", text], ...]: deleting and inserting makes `after` of `before`.
export function diff(before, after) {
  const [a, b] = [words(before), words(after)];
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let end = 0;
  while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
  const [from, to] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  return joined([
    ...a.slice(0, start).map((word) => ["same", word]),
    ...(script(from, to) ?? [...from.map((word) => ["del", word]), ...to.map((word) => ["ins", word])]),
    ...a.slice(a.length - end).map((word) => ["same", word]),
  ]);
}

// `reach[k]` is how far along `a` one comes on diagonal k (x - y) with so many edits; null: too many.
function script(a, b) {
  const most = Math.min(a.length + b.length, MOST_EDITS);
  const zero = most + 1;
  const reach = new Int32Array(2 * zero + 1);
  const trace = [];
  for (let edits = 0; edits <= most; edits += 1) {
    trace.push(reach.slice(zero - edits - 1, zero + edits + 2));
    for (let k = -edits; k <= edits; k += 2) {
      let x = inserts(reach, zero, k, edits) ? reach[zero + k + 1] : reach[zero + k - 1] + 1;
      while (x < a.length && x - k < b.length && a[x] === b[x - k]) x += 1;
      reach[zero + k] = x;
      if (x >= a.length && x - k >= b.length) return walkedBack(a, b, trace);
    }
  }
  return null;
}

const inserts = (reach, zero, k, edits) =>
  k === -edits || (k !== edits && reach[zero + k - 1] < reach[zero + k + 1]);

function walkedBack(a, b, trace) {
  const steps = [];
  let [x, y] = [a.length, b.length];
  for (let edits = trace.length - 1; edits > 0; edits -= 1) {
    const [reach, zero, k] = [trace[edits], edits + 1, x - y];
    const inserted = inserts(reach, zero, k, edits);
    const before = inserted ? k + 1 : k - 1;
    const start = inserted ? reach[zero + before] : reach[zero + before] + 1;
    for (; x > start; x -= 1, y -= 1) steps.push(["same", a[x - 1]]);
    if (inserted) {
      y -= 1;
      steps.push(["ins", b[y]]);
    } else {
      x -= 1;
      steps.push(["del", a[x]]);
    }
  }
  for (; x > 0; x -= 1) steps.push(["same", a[x - 1]]);
  return steps.reverse();
}

// Neighbours of a kind become one piece, and within a change what was deleted comes before what was inserted.
// Blanks between two changes belong to both: words that are struck out one by one cannot be read.
function joined(steps) {
  const pieces = [];
  let [gone, come, between] = ["", "", ""];
  const flush = () => {
    if (gone) pieces.push(["del", gone]);
    if (come) pieces.push(["ins", come]);
    if (between) pieces.push(["same", between]);
    [gone, come, between] = ["", "", ""];
  };
  for (const [kind, word] of steps) {
    if (kind === "same") {
      if ((gone || come) && !word.trim()) between += word;
      else {
        flush();
        if (pieces.at(-1)?.[0] === "same") pieces.at(-1)[1] += word;
        else pieces.push(["same", word]);
      }
      continue;
    }
    gone += between;
    come += between;
    between = "";
    if (kind === "del") gone += word;
    else come += word;
  }
  flush();
  return pieces;
}
