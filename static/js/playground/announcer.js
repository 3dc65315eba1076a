// For screen readers: what has happened in the last seconds in one sentence, never token by token.

const EVERY_MS = 2500;
const line = document.getElementById("announcer");
let waiting = [];
let timer = null;

export function announce(text) {
  waiting.push(text);
  timer ??= setTimeout(() => {
    line.textContent = waiting.join(" ");
    waiting = [];
    timer = null;
  }, line.textContent ? EVERY_MS : 300);
}
