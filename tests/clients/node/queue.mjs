import assert from "node:assert/strict";
import { fal } from "@fal-ai/client";

const app = "fal-ai/photomaker";
const running = await fal.queue.submit(app, { input: { prompt: "running", seconds: 600 } });
assert.equal(running.status, "IN_QUEUE");
const waiting = await fal.queue.submit(app, { input: { prompt: "waiting" }, priority: "low", hint: "any" });
const queued = await fal.queue.status(app, { requestId: waiting.request_id });
assert.deepEqual([queued.status, queued.queue_position], ["IN_QUEUE", 0]);
const progress = await fal.queue.status(app, { requestId: running.request_id, logs: true });
assert.equal(progress.status, "IN_PROGRESS");
assert.ok(Array.isArray(progress.logs));
await fal.queue.cancel(app, { requestId: running.request_id });
const done = await fal.queue.subscribeToStatus(app, { requestId: waiting.request_id, pollInterval: 50 });
assert.equal(done.status, "COMPLETED");
assert.equal(typeof done.metrics.inference_time, "number");
const result = await fal.queue.result(app, { requestId: waiting.request_id });
assert.deepEqual([result.data.prompt, result.requestId], ["waiting", waiting.request_id]);

const busy = await fal.queue.submit(app, { input: { prompt: "busy", seconds: 600 } });
await assert.rejects(
  fal.run(app, { input: { prompt: "late" }, startTimeout: 1.1 }),
  (error) => error.name === "ApiError" && error.isUserTimeout,
);
await fal.queue.cancel(app, { requestId: busy.request_id });
await assert.rejects(
  fal.queue.cancel(app, { requestId: waiting.request_id }),
  (error) => error.status === 400 && error.body.status === "ALREADY_COMPLETED",
);
await assert.rejects(
  fal.queue.status(app, { requestId: "00000000-0000-0000-0000-000000000000" }),
  (error) => error.status === 404,
);
