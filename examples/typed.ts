// With the types that the client ships for this endpoint: a wrong field or value does not compile.
import { fal, type QueueStatus } from "@fal-ai/client";
import type { photomakerInput, photomakerOutput } from "@fal-ai/client/endpoints";
import { readFile } from "node:fs/promises";

const archive = process.argv[2];
if (!archive) throw new Error("usage: node typed.js photos.zip");

const input: photomakerInput = {
  image_archive_url: new Blob([await readFile(archive)], { type: "application/zip" }), // uploaded on the way
  prompt: "portrait photo of a man img, smiling",
  style: "Comic book",
  num_inference_steps: 20,
};

function told(update: QueueStatus): void {
  if (update.status === "IN_QUEUE") console.log(`waiting, ${update.queue_position} before it`);
}

const result = await fal.subscribe("fal-ai/photomaker", { input, onQueueUpdate: told });
const output: photomakerOutput = result.data;
for (const image of output.images) console.log(`${image.width} x ${image.height}, ${image.content_type}`);
