// Libraries that people call fal with: each submits, follows the URLs of the answer, and reads the result's picture.
import assert from "node:assert/strict";
import https from "node:https";
import axios from "axios";
import oldAxios from "axios-1-7";
import got from "got";
import nodeFetch from "node-fetch";
import { request as undiciRequest } from "undici";

const submit = "https://queue.fal.run/fal-ai/photomaker";
const authorization = `Key ${process.env.FAL_KEY}`;
const headers = { authorization, "content-type": "application/json" };
const body = JSON.stringify({ prompt: "by hand" });

const callers = {
  axios: async (url, method, body) => (await axios({ url, method, headers, data: body })).data,
  "axios 1.7": async (url, method, body) => (await oldAxios({ url, method, headers, data: body })).data,
  got: (url, method, body) => got(url, { method, headers, body }).json(),
  "node-fetch": async (url, method, body) => (await nodeFetch(url, { method, headers, body })).json(),
  fetch: async (url, method, body) => (await fetch(url, { method, headers, body })).json(),
  undici: async (url, method, body) => (await undiciRequest(url, { method, headers, body })).body.json(),
  "node:https": (url, method, body) =>
    new Promise((resolve, reject) => {
      const call = https.request(url, { method, headers }, async (response) => {
        let text = "";
        for await (const chunk of response) text += chunk;
        resolve(JSON.parse(text));
      });
      call.on("error", reject);
      call.end(body);
    }),
};

for (const [name, call] of Object.entries(callers)) {
  const submitted = await call(submit, "POST", body);
  assert.ok(submitted.status_url.startsWith(`${submit}/requests/`), `${name}: ${submitted.status_url}`);
  while ((await call(submitted.status_url, "GET")).status !== "COMPLETED") {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const result = await call(submitted.response_url, "GET");
  assert.equal(result.prompt, "by hand", name);
  assert.ok(result.images[0].url.startsWith("https://v3.fal.media/files/"), name);
  console.log(name);
}
