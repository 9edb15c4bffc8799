// A socket to an app, as pages open them: with a token, and messages in MessagePack.
import assert from "node:assert";

import { fal } from "@fal-ai/client";

const results = [];
await new Promise((resolve, reject) => {
  const connection = fal.realtime.connect("owner/talking", {
    connectionKey: "one",
    throttleInterval: 0,
    onResult: (result) => {
      results.push(result.name);
      if (results.length === 1) {
        connection.send({ name: "b" });
      } else {
        connection.close();
        resolve();
      }
    },
    onError: reject,
  });
  connection.send({ name: "a" });
});
assert.deepStrictEqual(results, ["aa", "bb"]);
process.exit(0);
