// A page's server with one release of @fal-ai/server-proxy in Express, and a client that knows only that server.
import assert from "node:assert/strict";
import { createFalClient } from "@fal-ai/client";
import express from "express";

const falProxy = await import(`${process.argv[2]}/express`);
const app = "fal-ai/photomaker";
const server = express();
server.use(express.json());
server.all(falProxy.route, falProxy.handler);
const listening = server.listen(0, "127.0.0.1");
await new Promise((resolve) => listening.once("listening", resolve));

const proxyUrl = `http://127.0.0.1:${listening.address().port}${falProxy.route}`;
globalThis.window = { document: {} }; // the client uses a proxy in browsers only
globalThis.document = {};
const fal = createFalClient({ proxyUrl, credentials: undefined });
const result = await fal.subscribe(app, { input: { prompt: "proxied" }, pollInterval: 100 });
assert.equal(result.data.prompt, "proxied");
const url = await fal.storage.upload(new Blob(["text"], { type: "text/plain" }));
assert.equal(await (await fetch(url)).text(), "text");

const running = await fal.queue.submit(app, { input: { prompt: "running", seconds: 600 } });
await fal.queue.cancel(app, { requestId: running.request_id });
const status = async () => (await fal.queue.status(app, { requestId: running.request_id })).status;
while ((await status()) !== "COMPLETED") {
  await new Promise((resolve) => setTimeout(resolve, 100));
}
// Its Express handler streams every answer with status 200, so the client sees the error's body as data.
const refused = await fal.run(app, { input: { prompt: "" } });
assert.equal(refused.data.detail[0].loc.at(-1), "prompt");
listening.close();
