// @huggingface/inference with a key of fal's: it submits, follows the answer's URLs, and downloads the picture.
import assert from "node:assert/strict";
import { InferenceClient } from "@huggingface/inference";

const mapping = { providerId: "fal-ai/photomaker", status: "live", task: "text-to-image", hfModelId: "any/model" };
const ask = (inputs) => ({ model: "any/model", provider: "fal-ai", inputs });
const fetched = globalThis.fetch;
globalThis.fetch = async (url, options) =>
  String(url).startsWith("https://huggingface.co/api/")
    ? Response.json({ id: "any/model", inferenceProviderMapping: { "fal-ai": mapping } }) // its own service, not fal's
    : fetched(url, options);

const awake = setInterval(() => {}, 1000); // its own timers keep no process alive
const client = new InferenceClient(process.env.FAL_KEY);
const picture = await client.textToImage(ask("by the hub's client"));
assert.equal(Buffer.from(await picture.arrayBuffer()).subarray(1, 4).toString(), "PNG");
await assert.rejects(client.textToImage(ask("")));
clearInterval(awake);
