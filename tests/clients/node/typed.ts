// Written against the types that the package ships for this very endpoint.
import { fal, type QueueStatus } from "@fal-ai/client";
import type { photomakerInput, photomakerOutput } from "@fal-ai/client/endpoints";

const input: photomakerInput = {
  image_archive_url: new Blob(["zip"], { type: "application/zip" }),
  prompt: "portrait photo of a man img",
  style: "Photographic",
  base_pipeline: "photomaker",
  num_images: 1,
  num_inference_steps: 20,
  seed: 42,
};
const seen: QueueStatus["status"][] = [];
const result = await fal.subscribe("fal-ai/photomaker", {
  input,
  logs: true,
  onQueueUpdate: (update) => seen.push(update.status),
});
const output: photomakerOutput = result.data;
const image = output.images[0];
if (!image?.url || image.content_type !== "image/png" || seen.at(-1) !== "COMPLETED") {
  throw new Error(JSON.stringify({ result, seen }));
}
console.log(output.images.length, result.requestId);
