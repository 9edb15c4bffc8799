import assert from "node:assert/strict";
import { fal } from "@fal-ai/client";

for (const mode of ["polling", "streaming"]) {
  const updates = [];
  let enqueued;
  const result = await fal.subscribe("fal-ai/photomaker", {
    input: { prompt: mode, lines: 3, seconds: 0.3 },
    logs: true,
    mode,
    pollInterval: 50,
    onEnqueue: (requestId) => (enqueued = requestId),
    onQueueUpdate: (update) => updates.push(update),
  });
  assert.equal(result.data.prompt, mode);
  assert.equal(result.requestId, enqueued);
  assert.equal(updates.at(-1).status, "COMPLETED");
  assert.deepEqual(
    updates.at(-1).logs.map((log) => log.message),
    [1, 2, 3].map((step) => `${mode}: step ${step} of 3`),
  );
}

await assert.rejects(
  fal.subscribe("fal-ai/photomaker", { input: { prompt: "slow", seconds: 600 }, timeout: 800 }),
  /timed out/,
);
const stream = await fal.stream("fal-ai/photomaker", { input: { prompt: "stream" } });
const steps = [];
for await (const event of stream) steps.push(event.step);
assert.deepEqual(steps, [0, 1, 2]);
