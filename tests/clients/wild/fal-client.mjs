// One release of @fal-ai/client, or of @fal-ai/serverless-client before it: subscribe, stream, upload, cancel, errors.
import assert from "node:assert/strict";
import { File } from "node:buffer"; // not yet global in Node 18

const release = await import(process.argv[2]);
const fal = release.fal ?? release;
const app = "fal-ai/photomaker";
const content = (answer) => answer.data ?? answer;

const logs = [];
const result = await fal.subscribe(app, {
  input: { prompt: "subscribed" },
  logs: true,
  pollInterval: 100,
  onQueueUpdate: (update) => logs.push(...(update.logs ?? [])),
});
assert.equal(content(result).prompt, "subscribed");
assert.ok(logs.some((entry) => entry.message === "subscribed: step 1 of 2"));

const file = await fal.storage.upload(new File(["some text"], "note.txt", { type: "text/plain" }));
assert.ok(file.startsWith("https://v3.fal.media/files/"), file);
assert.equal(await (await fetch(file)).text(), "some text");

const running = await fal.queue.submit(app, { input: { prompt: "running", seconds: 600 } });
assert.equal((await fal.queue.status(app, { requestId: running.request_id })).request_id, running.request_id);
if (fal.queue.cancel) {
  await fal.queue.cancel(app, { requestId: running.request_id });
} else {
  const authorization = `Key ${process.env.FAL_KEY}`;
  assert.equal((await fetch(running.cancel_url, { method: "PUT", headers: { authorization } })).status, 202);
}
while ((await fal.queue.status(app, { requestId: running.request_id })).status !== "COMPLETED") {
  await new Promise((resolve) => setTimeout(resolve, 100));
}
await assert.rejects(fal.queue.result(app, { requestId: running.request_id }), (error) => error.status === 499);

if (fal.stream) {
  const events = [];
  for await (const event of await fal.stream(app, { input: { prompt: "streamed" } })) {
    events.push(event.step);
  }
  assert.deepEqual(events, [0, 1, 2]);
}

await assert.rejects(
  fal.subscribe(app, { input: { prompt: "", num_inference_steps: 1 }, pollInterval: 100 }),
  (error) => error.status === 422 && error.body.detail[0].loc.at(-1) === "prompt",
);
await assert.rejects(fal.run("no/body", { input: {} }), (error) => error.status === 404);
