// A page's server with @fal-ai/server-proxy in Express, and a client of the page's that knows only that server.
import assert from "node:assert/strict";
import * as falProxy from "@fal-ai/server-proxy/express";
import { createFalClient } from "fal-1-10";
import express from "express";

const server = express();
server.use(express.json());
server.all(falProxy.route, falProxy.handler);
const listening = server.listen(0, "127.0.0.1");
await new Promise((resolve) => listening.once("listening", resolve));

const proxyUrl = `http://127.0.0.1:${listening.address().port}${falProxy.route}`;
globalThis.window = { document: {} }; // the client uses a proxy in browsers only
globalThis.document = {};
const fal = createFalClient({ proxyUrl, credentials: undefined });
const result = await fal.subscribe("fal-ai/photomaker", { input: { prompt: "proxied" }, pollInterval: 100 });
assert.equal(result.data.prompt, "proxied");
const url = await fal.storage.upload(new Blob(["text"], { type: "text/plain" }));
assert.equal(await (await fetch(url)).text(), "text");
// Its Express handler streams every answer with status 200, so the client sees the error's body as data.
const refused = await fal.run("fal-ai/photomaker", { input: { prompt: "" } });
assert.equal(refused.data.detail[0].loc.at(-1), "prompt");
listening.close();
