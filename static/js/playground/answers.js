// One answer as it comes, and as it is shown.

import { explain } from "./api.js";
import { duration, element, number } from "./dom.js";

export class Answer {
  // `earlier`: the answers before it in the same conversation.
  constructor(repeat, prompt, earlier = []) {
    Object.assign(this, { repeat, prompt, earlier, sessionId: null });
    Object.assign(this, { state: "waiting", text: "", thinking: "", facts: {}, error: "" });
  }

  // What an event of the stream adds. Answers whether the text only grew.
  take(name, data) {
    if (data.sessionId) this.sessionId = data.sessionId;
    if (name === "delta") {
      this.state = "writing";
      this.text += data.content;
      this.thinking += data.thinking;
      return true;
    }
    if (name === "session") Object.assign(this.facts, { modelProvider: data.modelProvider, modelName: data.modelName });
    if (name === "done") this.finish(data);
    if (name === "error") this.fail(explain(data), data.error === "CANCELLED");
    return false;
  }

  finish(data) {
    Object.assign(this, { state: "done", text: data.output, thinking: data.thinking });
    Object.assign(this.facts, data);
  }

  fail(reason, stopped = false) {
    Object.assign(this, { state: stopped ? "stopped" : "failed", error: reason });
  }

  get ended() {
    return ["done", "failed", "stopped"].includes(this.state);
  }

  // From a stored message of an assistant.
  static of(session, asked, message) {
    const answer = new Answer(session.repeat, asked?.content ?? "");
    answer.sessionId = session.id;
    Object.assign(answer.facts, { modelProvider: session.modelProvider, modelName: session.modelName });
    if (!message) answer.fail("There is no answer to this.");
    else answer.restore(message, session.parameters.format);
    return answer;
  }

  restore(message, format) {
    const unfit = message.errorCode === "INVALID_ANSWER";
    Object.assign(this, { text: message.content, thinking: message.thinking ?? "" });
    if (message.errorCode && !unfit) {
      this.fail(message.errorMessage || message.errorCode, message.errorCode === "CANCELLED");
      return;
    }
    const { first_token_ms: firstTokenMs = null, decode_ms: decodeMs = null } = message.timings;
    this.finish({
      ...message,
      output: message.content,
      thinking: message.thinking ?? "",
      firstTokenMs,
      tokensPerSecond: decodeMs && message.outputTokens ? (message.outputTokens / decodeMs) * 1000 : null,
      valid: format ? !unfit : null,
      problem: unfit ? message.errorMessage : null,
    });
  }
}

export const STATES = {
  waiting: "Waiting",
  writing: "Writing…",
  done: "Done",
  failed: "Failed",
  stopped: "Stopped",
};

export function marks(answer) {
  const { facts } = answer;
  const chips = [];
  const chip = (text, title, className = "chip") => chips.push(element("span", { className, text, title }));
  if (answer.ended && answer.state !== "done" && answer.text) {
    chip("only a part", "The answer broke off here. What had come is kept.", "chip warning");
  }
  if (facts.valid === true) chip("✓ valid JSON", "In the format that was asked for.", "chip good");
  if (facts.valid === false) chip("✕ not as asked for", facts.problem, "chip warning");
  if (facts.stopReason === "length") chip("cut at its limit", "The model reached its limit of tokens.", "chip warning");
  if (facts.coldStart) chip("cold start", "The model was loaded first: its times compare with nothing.");
  if (facts.mayBeCut) {
    chip("prompt may have been cut", "The server counted far fewer tokens than we did.", "chip warning");
  }
  if (facts.valid === false) chips.push(element("p", { className: "quiet problem", text: facts.problem }));
  return chips;
}

export function figures({ facts }) {
  const told = (value, words) => (value === null || value === undefined ? "–" : words(value));
  const rows = [
    ["Tokens in", told(facts.inputTokens, number)],
    ["Tokens out", told(facts.outputTokens, number)],
    ["First token", told(facts.firstTokenMs, duration)],
    ["Whole answer", told(facts.latencyMs, duration)],
    ["Speed", told(facts.tokensPerSecond, (value) => `${number(value, 1)} tokens/s`)],
    ["Stopped by", told(facts.stopReason, String)],
  ];
  return rows.map(([name, value]) => element("div", {}, element("dt", { text: name }), element("dd", { text: value })));
}
