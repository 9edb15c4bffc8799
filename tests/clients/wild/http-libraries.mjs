// Libraries that people call fal with: each submits, follows the answer's URLs, uploads, cancels, and is refused.
import assert from "node:assert/strict";
import https from "node:https";
import axios from "axios";
import oldAxios from "axios-1-7";
import got from "got";
import nodeFetch from "node-fetch";
import { request as undiciRequest } from "undici";

const app = "https://queue.fal.run/fal-ai/photomaker";
const authorization = `Key ${process.env.FAL_KEY}`;
const any = () => true; // statuses are the answers here

const byAxios = (library) => async (url, method, headers, data) => {
  const answer = await library({ url, method, headers, data, responseType: "text", validateStatus: any });
  return [answer.status, answer.data];
};
const byFetch = (library) => async (url, method, headers, body) => {
  const answer = await library(url, { method, headers, body });
  return [answer.status, await answer.text()];
};
const callers = {
  axios: byAxios(axios),
  "axios 1.7": byAxios(oldAxios),
  got: async (url, method, headers, body) => {
    const answer = await got(url, { method, headers, body, throwHttpErrors: false });
    return [answer.statusCode, answer.body];
  },
  "node-fetch": byFetch(nodeFetch),
  fetch: byFetch(fetch),
  undici: async (url, method, headers, body) => {
    const answer = await undiciRequest(url, { method, headers, body });
    return [answer.statusCode, await answer.body.text()];
  },
  "node:https": (url, method, headers, body) =>
    new Promise((resolve, reject) => {
      const call = https.request(url, { method, headers }, async (response) => {
        let text = "";
        for await (const chunk of response) text += chunk;
        resolve([response.statusCode, text]);
      });
      call.on("error", reject);
      call.end(body);
    }),
};

async function check(name, call) {
  const json = async (url, method, body) => {
    const sent = body === undefined ? {} : { "content-type": "application/json" };
    const [status, text] = await call(url, method, { authorization, ...sent }, body && JSON.stringify(body));
    return [status, JSON.parse(text)];
  };
  const completed = async (request) => {
    while ((await json(request.status_url, "GET"))[1].status !== "COMPLETED") {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    return json(request.response_url, "GET");
  };

  const [, submitted] = await json(app, "POST", { prompt: "by hand" });
  assert.ok(submitted.status_url.startsWith(`${app}/requests/`), `${name}: ${submitted.status_url}`);
  const [, result] = await completed(submitted);
  assert.equal(result.prompt, "by hand", name);
  const [, direct] = await json("https://fal.run/fal-ai/photomaker", "POST", { prompt: "at once" });
  assert.equal(direct.prompt, "at once", name);

  const description = { file_name: "note.txt", content_type: "text/plain" };
  const initiate = "https://rest.fal.ai/storage/upload/initiate?storage_type=fal-cdn-v3";
  const [, place] = await json(initiate, "POST", description);
  assert.equal((await call(place.upload_url, "PUT", { "content-type": "text/plain" }, name))[0], 200, name);
  assert.deepEqual(await call(place.file_url, "GET", {}), [200, name]);
  assert.equal((await call(result.images[0].url, "GET", {}))[0], 200, name);

  const [, running] = await json(app, "POST", { prompt: "running", seconds: 600 });
  assert.deepEqual(await json(running.cancel_url, "PUT"), [202, { status: "CANCELLATION_REQUESTED" }], name);
  assert.equal((await completed(running))[0], 499, name);

  const [, refused] = await json(app, "POST", { prompt: "" });
  const [status, error] = await completed(refused);
  assert.deepEqual([status, error.detail[0].type], [422, "string_too_short"], name);
  assert.equal((await json("https://fal.run/no/body", "POST", {}))[0], 404, name);
}

await Promise.all(Object.entries(callers).map(([name, call]) => check(name, call)));
