// Server-sent events, read by hand: EventSource can neither POST nor send a key.

/** The data of each event of a stream of text chunks. */
export async function* events(chunks) {
  let rest = "";
  for await (const chunk of chunks) {
    rest += chunk;
    const whole = rest.split(/\r\n\r\n|\n\n|\r\r/);
    rest = whole.pop();
    for (const event of whole) {
      const data = dataOf(event);
      if (data !== undefined) yield data;
    }
  }
  const data = dataOf(rest);
  if (data !== undefined) yield data;
}

function dataOf(event) {
  const lines = event.split(/\r\n|\n|\r/).filter((line) => line.startsWith("data:"));
  return lines.length ? lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n") : undefined;
}

/** The text chunks of a response's body. */
export async function* textOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
