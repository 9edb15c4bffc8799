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
  (error) => error.message.includes(name), // the hook's words, or from Node 22.21 on the proxy's
);
// Node 22.21's own fetch tells nobody why a proxy has refused.
const untold = /Request was cancelled/;
await assert.rejects(
  fetch(`https://${name}/`),
  (error) => String(error.cause ?? error).includes(name) || untold.test(String(error.cause)),
);
