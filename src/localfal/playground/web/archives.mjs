// Archives as the form handles them: looked into, packed by a worker, and those that are offered as examples.
import { entries } from "./zip.mjs";

export const PICTURES = /\.(png|jpe?g|webp|gif|avif|bmp)$/i;
export const isArchive = (file) => /\.(zip|tar|tgz|tar\.gz)$/i.test(file.name) || /zip|x-tar/.test(file.type);

/** The files in a zip, each with its content where that can be read; none for other archives. */
export async function contents(blob) {
  try {
    return await Promise.all((await entries(blob)).map(async (entry) => ({ name: entry.name, size: entry.size, blob: await entry.content().then((one) => one.slice(0, one.size, typeOf(entry.name)), () => undefined) })));
  } catch {
    return [];
  }
}

const TYPES = { png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", webp: "image/webp", gif: "image/gif", avif: "image/avif", bmp: "image/bmp" };
const typeOf = (name) => TYPES[name.split(".").at(-1).toLowerCase()] ?? "application/octet-stream";

const exampleBlobs = new Map();

/** An example file's content, fetched once. */
export function exampleBlob(file) {
  const name = file.file_name;
  if (!exampleBlobs.has(name)) exampleBlobs.set(name, fetch(`/playground/examples/${encodeURIComponent(name)}`).then((response) => response.blob()));
  return exampleBlobs.get(name);
}

/** A picture that stands for an example file: its own, or the first in an archive; none for large ones. */
export async function firstPicture(file) {
  if (file.file_size > 2_000_000) return undefined;
  const blob = await exampleBlob(file);
  if (file.content_type.startsWith("image/")) return URL.createObjectURL(blob);
  if (!/zip/.test(file.content_type)) return undefined;
  const first = (await contents(blob)).find((item) => item.blob && PICTURES.test(item.name));
  return first && URL.createObjectURL(first.blob);
}

// The page's one script URL that is made at run time; Trusted Types ask for it by name.
const policy = globalThis.trustedTypes?.createPolicy("localfal", { createScriptURL: (url) => (url === "/playground/zip-worker.mjs" ? url : "") });

/** One zip of files, packed by a worker. */
export function inWorker(files) {
  return new Promise((resolve, reject) => {
    const url = "/playground/zip-worker.mjs";
    const worker = new Worker(policy ? policy.createScriptURL(url) : url, { type: "module" });
    worker.addEventListener("message", ({ data }) => {
      worker.terminate();
      if (data.zip) resolve(data.zip);
      else reject(new Error(data.error));
    });
    worker.addEventListener("error", () => {
      worker.terminate();
      reject(new Error("The photos could not be packed."));
    });
    worker.postMessage(files);
  });
}
