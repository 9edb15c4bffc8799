// Whatever is a host of fal's but none of those that localfal answers for: refused here, by its name.
import assert from "node:assert/strict";
import https from "node:https";

const name = "grpc.fal.ai";
await assert.rejects(
  new Promise((resolve, reject) => {
    try {
      https.get(`https://${name}/`, resolve).on("error", reject);
    } catch (error) {
      reject(error);
    }
  }),
  new RegExp(`${name} is a host of fal's`),
);
await assert.rejects(fetch(`https://${name}/`), (error) => `${error} ${error.cause}`.includes(name));
