// Upload photos of a person, ask for two pictures, save them: `node node.mjs photos.zip`
import { fal } from "@fal-ai/client";
import { readFile, writeFile } from "node:fs/promises";

const archive = new Blob([await readFile(process.argv[2])], { type: "application/zip" });
const { data } = await fal.subscribe("fal-ai/photomaker", {
  input: {
    image_archive_url: await fal.storage.upload(archive),
    prompt: "portrait photo of a man img, smiling, on a beach",
    num_images: 2,
    num_inference_steps: 20,
    seed: 42,
  },
  logs: true,
  onQueueUpdate: (update) => {
    if (update.status === "IN_PROGRESS") console.log(update.logs.at(-1)?.message ?? "started");
  },
});
for (const [number, image] of data.images.entries()) {
  const file = `node-${data.seed + number}.png`;
  await writeFile(file, Buffer.from(await (await fetch(image.url)).arrayBuffer()));
  console.log(`saved ${file}`);
}
