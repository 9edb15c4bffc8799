// One release of @fal-ai/client: submit, subscribe, upload, cancel, errors. `node fal-client.mjs fal-1-2`
import assert from "node:assert/strict";

const { fal } = await import(process.argv[2]);
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
}
await assert.rejects(
  fal.subscribe(app, { input: { prompt: "", num_inference_steps: 1 }, pollInterval: 100 }),
  (error) => error.status === 422 && error.body.detail[0].loc.at(-1) === "prompt",
);
await assert.rejects(fal.run("no/body", { input: {} }), (error) => error.status === 404);
