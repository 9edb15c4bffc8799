import assert from "node:assert/strict";
import { test } from "node:test";
import { asCall, asValues, chosen, exampleFiles, exampleValues, same } from "../../../src/localfal/playground/web/values.mjs";

test("only what was chosen is sent", () => {
  const list = [
    { name: "a", required: true, schema: { default: 1 } }, { name: "b", required: false, schema: { default: 2 } },
    { name: "c", required: false, schema: { default: { x: 1, y: [2] } } }, { name: "d", required: false, schema: {} },
  ];
  const values = { a: 1, b: 2, c: { y: [2], x: 1 }, d: undefined };
  assert.deepEqual(chosen(list, (name) => values[name]), { a: 1 });
  assert.deepEqual(chosen(list, (name) => ({ ...values, b: 0, c: { x: 1 }, d: "" })[name]), { a: 1, b: 0, c: { x: 1 }, d: "" });
});

test("equal whatever the order of keys", () => {
  assert.ok(same({ a: [1, { b: null }] }, { a: [1, { b: null }] }));
  assert.ok(!same([1], { 0: 1 }));
  assert.ok(!same({ a: undefined }, { b: undefined }));
});

test("body and query, there and back", () => {
  const endpoint = { whole: false, inQuery: ["n", "tags", "on"], schema: { properties: { n: { type: "number" }, on: { type: "boolean" }, tags: { type: "array" } } } };
  const values = { prompt: "a&b", n: 2.5, on: true, tags: ["x", "y z"] };
  const call = asCall(endpoint, values);
  assert.deepEqual(call, { body: { prompt: "a&b" }, query: "?n=2.5&on=true&tags=x&tags=y+z" });
  assert.deepEqual(asValues(endpoint, call.body, call.query), values);
  const whole = { whole: true, inQuery: [] };
  assert.deepEqual(asCall(whole, { body: [1, 2] }), { body: [1, 2], query: "" });
  assert.deepEqual(asValues(whole, [1, 2], null), { body: [1, 2] });
});

test("examples: the endpoint's own, else the main fields'", () => {
  const schema = { properties: { prompt: { type: "string", examples: ["a cat"] }, seed: { type: "integer", examples: [42] } }, required: ["prompt"] };
  assert.deepEqual(exampleValues({ schema }), { prompt: "a cat" });
  assert.deepEqual(exampleValues({ schema, example: { prompt: "a dog", seed: 1 } }), { prompt: "a dog", seed: 1 });
});

test("example files go where they fit", () => {
  const files = ["application/zip", "image/png", "audio/wav"].map((content_type) => ({ content_type }));
  assert.deepEqual(exampleFiles("image", files.slice(0, 1), true), files.slice(0, 1), "pictures from an archive, where a field takes several");
  assert.deepEqual(exampleFiles("image", files.slice(0, 1)), []);
  assert.deepEqual(["archive", "image", "audio", "video", "text"].map((kind) => exampleFiles(kind, files).length), [1, 1, 1, 0, 0]);
});
