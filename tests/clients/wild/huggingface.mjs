// @huggingface/inference with a key of fal's: it submits, follows the answer's URLs, and downloads the picture.
import assert from "node:assert/strict";
import { InferenceClient } from "@huggingface/inference";

const mapping = (task) => ({ providerId: "fal-ai/photomaker", status: "live", task, hfModelId: `any/${task}` });
const ask = (task, more) => ({ model: `any/${task}`, provider: "fal-ai", ...more });
const fetched = globalThis.fetch;
globalThis.fetch = async (url, options) => {
  const [, task] = String(url).match(/^https:\/\/huggingface\.co\/api\/.*any\/([a-z-]+)/) ?? [];
  return task // a look-up at the hub's own service, not fal's
    ? Response.json({ id: `any/${task}`, inferenceProviderMapping: { "fal-ai": mapping(task) } })
    : fetched(url, options);
};

const awake = setInterval(() => {}, 1000); // its own timers keep no process alive
const client = new InferenceClient(process.env.FAL_KEY);
const picture = await client.textToImage(ask("text-to-image", { inputs: "by the hub's client" }));
const isPng = async (blob) => assert.equal(Buffer.from(await blob.arrayBuffer()).subarray(1, 4).toString(), "PNG");
await isPng(picture);
await isPng(await client.imageToImage(ask("image-to-image", { inputs: picture, parameters: { prompt: "edited" } })));
await assert.rejects(client.textToImage(ask("text-to-image", { inputs: "" })));
clearInterval(awake);
