import assert from "node:assert/strict";
import { fal } from "@fal-ai/client";

const url = await fal.storage.upload(new File(["some text"], "note.txt", { type: "text/plain" }));
const response = await fetch(url);
assert.match(response.headers.get("content-type"), /^text\/plain/);
assert.equal(await response.text(), "some text");

const hidden = await fal.storage.upload(new Blob(["mine"]), { lifecycle: { initialAcl: { default: "hide" } } });
assert.equal((await fetch(hidden)).status, 404);

const large = new Uint8Array(91 * 1024 * 1024).fill(7);
const inParts = await fal.storage.upload(new Blob([large], { type: "application/zip" }));
const received = new Uint8Array(await (await fetch(inParts)).arrayBuffer());
assert.equal(Buffer.compare(received, large), 0);

const result = await fal.run("fal-ai/photomaker", {
  input: { prompt: "blob", image_archive_url: new Blob(["zip"], { type: "application/zip" }) },
});
assert.equal(await (await fetch(result.data.image_archive_url)).text(), "zip");
const hosted = result.data.image_archive_url.replace(/^http:\/\/[^/]+/, "https://v3.fal.media");
assert.equal(await (await fetch(new Request(hosted))).text(), "zip");
