// Server-sent events of an answer to a POST, which EventSource cannot make: [name, data] as they come.

export async function* events(response) {
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

// What an error of the API says, in one line.
export function explain(problem) {
  const details = problem.details || {};
  if (details.message) return details.message;
  return Object.entries(details).map(([name, why]) => `${name}: ${[why].flat().join(" ")}`).join(" ");
}
