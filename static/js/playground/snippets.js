// A column as a command and as a program that ask the product's API the same. No token: a placeholder.

const TOKEN = "YOUR_TOKEN";
// What the plain route takes; whatever needs more goes over the bench's stream.
const PLAIN = new Set([
  "chatProfileId", "modelProvider", "modelName", "systemPrompt", "temperature", "topP", "maxTokens",
]);

function request({ prompt, variables, settings }) {
  const plain = !variables && Object.keys(settings).every((name) => PLAIN.has(name));
  if (plain) return { plain, path: "/playground/complete", body: { prompt, ...settings } };
  const body = { prompt, ...(variables ? { variables } : {}), columns: [settings] };
  return { plain, path: "/playground/compare/stream", body };
}

// Nothing is special to a shell within single quotes but the single quote itself.
const shellQuoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function curl(asked, base) {
  const { plain, path, body } = request(asked);
  return [
    `curl ${plain ? "" : "-N "}${shellQuoted(base + path)}`,
    `  -H 'Authorization: Bearer ${TOKEN}'`,
    `  -H 'Content-Type: application/json'`,
    `  --data-raw ${shellQuoted(JSON.stringify(body, null, 2))}`,
  ].join(" \\\n");
}

// JSON's texts are Python's too, once the two line ends that only JSON allows are escaped.
const LINE_ENDS = /[\u007f-\u009f\u2028\u2029]/g;
const escaped = (found) => `\\u${found.charCodeAt(0).toString(16).padStart(4, "0")}`;
const pythonText = (text) => JSON.stringify(text).replace(LINE_ENDS, escaped);

export function pythonLiteral(value, indent = "") {
  const deeper = `${indent}    `;
  const block = (open, lines, close) =>
    lines.length ? `${open}\n${lines.map((line) => `${deeper}${line},\n`).join("")}${indent}${close}` : open + close;
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "number") return String(value);
  if (typeof value === "string") return pythonText(value);
  if (Array.isArray(value)) return block("[", value.map((item) => pythonLiteral(item, deeper)), "]");
  const lines = Object.entries(value).map(([name, item]) => `${pythonText(name)}: ${pythonLiteral(item, deeper)}`);
  return block("{", lines, "}");
}

export function python(asked, base) {
  const { plain, path, body } = request(asked);
  const call = [
    `body = ${pythonLiteral(body)}`,
    `response = requests.post(`,
    `    ${pythonText(base + path)},`,
    `    headers={"Authorization": "Bearer ${TOKEN}"},`,
    `    json=body,`,
    `    timeout=600,`,
    ...(plain ? [] : ["    stream=True,"]),
    `)`,
    `response.raise_for_status()`,
  ];
  const whole = ["import requests", "", ...call, `print(response.json()["output"])`];
  const streamed = [
    "import json",
    "",
    "import requests",
    "",
    ...call,
    "event = None",
    "for line in response.iter_lines():",
    `    name, _, value = line.decode().partition(": ")`,
    `    if name == "event":`,
    "        event = value",
    `    elif name == "data" and event in ("done", "error"):`,
    "        answer = json.loads(value)",
    `        print(answer["output"] if event == "done" else answer["details"])`,
  ];
  return `${(plain ? whole : streamed).join("\n")}\n`;
}
