// The Vercel AI SDK, which downloads the pictures itself and refuses addresses that are not public: its API makes
// pictures, takes pictures to edit along in the request, gives up, and is refused.
import assert from "node:assert/strict";
import { createFal } from "@ai-sdk/fal";
import { generateImage } from "ai";

const fal = createFal({ apiKey: process.env.FAL_KEY });
const model = fal.image("fal-ai/photomaker");
const isPng = (image) => assert.equal(Buffer.from(image.uint8Array).subarray(1, 4).toString(), "PNG");

const { image } = await generateImage({ model, prompt: "by the SDK" });
isPng(image);
isPng((await generateImage({ model, prompt: { text: "edited", images: [image.uint8Array] } })).image);
await assert.rejects(
  generateImage({
    model,
    prompt: "given up",
    providerOptions: { fal: { seconds: 600 } },
    abortSignal: AbortSignal.timeout(1000),
  }),
);
isPng((await generateImage({ model, prompt: "the runner is free again" })).image);
await assert.rejects(
  generateImage({ model, prompt: "", maxRetries: 0 }),
  /prompt|Bad|Unprocessable|at least 1 character/i,
);
