// Events of an app's stream: the first ones one by one, each waited for by the app before it sends the next.
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
    const upTo = event.number < 3 ? event.number : 99;
    for (let number = event.number; event.number <= 3 && number <= upTo; number++) {
      writeFileSync(gate + number, "");
    }
  }
  assert.deepStrictEqual(numbers, [...Array(100).keys()]);
  assert.deepStrictEqual(await stream.done(), { number: 99 });
}
