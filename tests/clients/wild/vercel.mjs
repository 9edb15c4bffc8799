// The Vercel AI SDK, which downloads the pictures itself and refuses addresses that are not public.
import assert from "node:assert/strict";
import { createFal } from "@ai-sdk/fal";
import { generateImage } from "ai";

const fal = createFal({ apiKey: process.env.FAL_KEY });
const { image } = await generateImage({ model: fal.image("fal-ai/photomaker"), prompt: "by the SDK" });
assert.equal(Buffer.from(image.uint8Array).subarray(1, 4).toString(), "PNG");
await assert.rejects(
  generateImage({ model: fal.image("fal-ai/photomaker"), prompt: "", maxRetries: 0 }),
  /prompt|Bad|Unprocessable|at least 1 character/i,
);
