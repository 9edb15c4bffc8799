// The real app's /studio/stream: progress, previews, and last the answer.
import assert from "node:assert";
import { readFileSync } from "node:fs";

import { fal } from "@fal-ai/client";

const input = {
  image_urls: [`data:application/zip;base64,${readFileSync(process.argv[2], "base64")}`],
  prompt: "portrait photo of a man img",
  num_inference_steps: 12,
  seed: 7,
  sync_mode: true,
};
const stream = await fal.stream("fal-ai/photomaker/studio", { input });
const events = [];
for await (const event of stream) events.push(event);
const underway = events.slice(0, -1);
assert.deepStrictEqual(underway.filter((event) => event.previews.length === 0).map((event) => event.step), [...Array(12).keys()].map((step) => step + 1));
assert.deepStrictEqual(underway.filter((event) => event.previews.length > 0).map((event) => event.step), [5, 10]);
const answer = await stream.done();
assert.strictEqual(answer.images[0].content_type, "image/jpeg");
const { data } = await fal.run("fal-ai/photomaker/studio", { input });
assert.strictEqual(answer.images[0].url, data.images[0].url);
