import assert from "node:assert/strict";
import { fal, ValidationError, ApiError } from "@fal-ai/client";

const app = "fal-ai/photomaker";
for (const call of [fal.run, fal.subscribe]) {
  await assert.rejects(call(app, { input: { prompt: "", num_inference_steps: 5 } }), (error) => {
    assert.ok(error instanceof ValidationError);
    assert.deepEqual(error.fieldErrors.map((field) => field.type), ["string_too_short", "greater_than_equal"]);
    assert.equal(error.getFieldErrors("prompt").length, 1);
    assert.match(error.requestId, /^[0-9a-f-]{36}$/);
    return true;
  });
  await assert.rejects(call(app, { input: { prompt: "x", fail: "boom" } }), (error) => {
    assert.ok(error instanceof ApiError);
    assert.deepEqual([error.status, error.body], [500, { detail: "Internal Server Error" }]);
    return true;
  });
}
fal.config({ credentials: undefined });
process.env.FAL_KEY = "";
await assert.rejects(fal.run(app, { input: { prompt: "x" } }), (error) => error.status === 401);
