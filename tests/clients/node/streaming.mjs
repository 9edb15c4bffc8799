// Events of an app's stream, one by one: each is waited for by the app before it sends the next.
import assert from "node:assert";
import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { fal } from "@fal-ai/client";

for (const connectionMode of ["server", "client"]) {
  const gate = join(mkdtempSync(join(tmpdir(), "gate-")), "gate");
  const stream = await fal.stream("owner/listening", { input: { gate }, connectionMode });
  const numbers = [];
  for await (const event of stream) {
    numbers.push(event.number);
    writeFileSync(gate + event.number, "");
  }
  assert.deepStrictEqual(numbers, [...Array(100).keys()]);
  assert.deepStrictEqual(await stream.done(), { number: 99 });
}
