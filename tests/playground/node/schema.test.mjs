import assert from "node:assert/strict";
import { test } from "node:test";
import { describe, endpoints, fields, resolve, titleOf, variantOf, variantTitle } from "../../../src/localfal/playground/web/schema.mjs";

const kinds = (properties, required = []) =>
  Object.fromEntries(fields(resolve({ type: "object", properties, required }, {})).map(({ name, kind }) => [name, kind]));

const model = (id, post, result = { "application/json": { schema: {} } }) => ({
  endpoint_id: id,
  metadata: { description: "About it." },
  openapi: {
    paths: { [`/${id}`]: { post }, [`/${id}/requests/{request_id}`]: { get: { responses: { 200: { content: result } } } } },
    components: { schemas: { Input: { type: "object", properties: { prompt: { type: "string" } }, required: ["prompt"] } } },
  },
});
const body = (schema) => ({ requestBody: { required: true, content: { "application/json": { schema } } } });

test("names of fields say what files they hold", () => {
  const text = { type: "string" };
  assert.deepEqual(
    kinds({
      image_archive_url: text, images_data_url: text, image_url: text, initial_image_url: text, mask_url: text, video_url: text,
      audio_url: text, lora_url: text, url: text, webhook_url: text, my_callback_url: text, curl: text,
      image_urls: { type: "array", items: text }, reference_image_urls: { type: "array", items: text },
    }),
    {
      image_archive_url: "archive", images_data_url: "archive", image_url: "image", initial_image_url: "image", mask_url: "image",
      video_url: "video", audio_url: "audio", lora_url: "file", url: "file", webhook_url: "text", my_callback_url: "text",
      curl: "text", image_urls: "files", reference_image_urls: "files",
    },
  );
});

test("types and bounds say which control fits", () => {
  assert.deepEqual(
    kinds({
      prompt: { type: "string" }, negative_prompt: { type: "string" }, title: { type: "string" },
      steps: { type: "integer", minimum: 1, maximum: 9 }, open_ended: { type: "number", minimum: 0 },
      share: { type: "number", exclusiveMinimum: 0, exclusiveMaximum: 1 }, seed: { type: "integer" }, noise_seed: { type: "integer" },
      on: { type: "boolean" }, style: { enum: ["a", "b"] }, picks: { type: "array", items: { enum: ["a", "b"] } },
      tags: { type: "array", items: { type: "string" } }, grid: { type: "array", items: { type: "array", items: { type: "number" } } },
      free: {}, map: { type: "object", additionalProperties: { type: "string" } }, inner: { type: "object", properties: { a: { type: "string" } } },
      file: { type: "object", properties: { url: { type: "string" }, content_type: { type: "string" } }, ui: { field: "video" } },
    }),
    {
      prompt: "textarea", negative_prompt: "textarea", title: "text", steps: "slider", open_ended: "number", share: "slider",
      seed: "seed", noise_seed: "seed", on: "switch", style: "select", picks: "checks", tags: "list", grid: "json", free: "json",
      map: "json", inner: "object", file: "video",
    },
  );
});

test("the schema's own wishes win", () => {
  assert.deepEqual(
    kinds({ a: { type: "string", ui: { field: "image" } }, b: { type: "string", ui: { field: "textarea" } }, c: { type: "integer", ui: { field: "seed" } } }),
    { a: "image", b: "textarea", c: "seed" },
  );
  const [hint] = fields({ properties: { a: { type: "string", description: "What\n it is.", ui: { hint: "And how." } } } });
  assert.equal(hint.hint, "What it is. And how.");
});

test("order, main fields and hidden ones", () => {
  const object = {
    properties: { z: { type: "string" }, a: { type: "string", ui: { hidden: true } }, m: { type: "string", ui: { important: true } }, q: { type: "string", ui: { hidden: true } } },
    required: ["z", "q"],
    "x-fal-order-properties": ["m", "gone", "z"],
  };
  assert.deepEqual(fields(object).map((field) => [field.name, field.main]), [["m", true], ["z", true], ["q", true]], "a required field is shown in any case");
});

test("optional is no kind of its own, and choices stay choices", () => {
  const openapi = { components: { schemas: { Size: { type: "object", title: "ImageSize", properties: { width: { type: "integer" } } } } } };
  assert.equal(describe("a", resolve({ anyOf: [{ type: "integer", minimum: 0, maximum: 9 }, { type: "null" }] }, openapi)).kind, "slider");
  assert.equal(describe("a", resolve({ type: ["string", "null"] }, openapi)).kind, "text");
  assert.equal(describe("a", resolve({ anyOf: [{ type: "integer" }, { type: "number" }] }, openapi)).schema.type, "number");
  const choice = resolve({ anyOf: [{ $ref: "#/components/schemas/Size" }, { type: "string", enum: ["square"] }], default: "square" }, openapi);
  assert.equal(describe("size", choice).kind, "variants");
  assert.deepEqual(choice.variants.map(variantTitle), ["Image Size", "Preset"]);
  assert.equal(variantOf(choice.variants, "square"), 1);
  assert.equal(variantOf(choice.variants, { width: 5 }), 0);
  const tagged = [{ properties: { kind: { enum: ["a"] } } }, { properties: { kind: { enum: ["b"] } } }];
  assert.equal(variantOf(tagged, { kind: "b" }), 1);
});

test("a model within itself ends somewhere", () => {
  const openapi = { components: { schemas: { Node: { type: "object", properties: { next: { $ref: "#/components/schemas/Node" }, all: { type: "array", items: { $ref: "#/components/schemas/Node" } } } } } } };
  const node = resolve({ $ref: "#/components/schemas/Node", title: "Tree" }, openapi);
  assert.equal(node.title, "Tree");
  assert.deepEqual(fields(node).map((field) => field.kind), ["json", "json"]);
});

test("endpoints: body, query, neither, both, and bodies that are no objects", () => {
  const query = [{ name: "factor", in: "query", required: true, schema: { type: "number" } }, { name: "x-key", in: "header", schema: { type: "string" } }];
  const list = endpoints([
    model("a/b", body({ $ref: "#/components/schemas/Input" })),
    model("a/b/scale", { parameters: query }),
    model("a/b/ping", {}),
    model("a/b/sum", body({ type: "array", items: { type: "integer" } })),
    model("a/b/watch", body({ $ref: "#/components/schemas/Input" }), { "text/event-stream": {} }),
    model("a/b/stream", body({ $ref: "#/components/schemas/Input" })),
    model("workflows/a/b/c", {}),
  ]);
  assert.deepEqual(list.map((one) => [one.app, one.path, one.streams]), [
    ["a/b", "/", false], ["a/b", "/scale", false], ["a/b", "/ping", false], ["a/b", "/sum", false], ["a/b", "/watch", true], ["a/b", "/stream", true], ["workflows/a/b", "/c", false],
  ]);
  assert.deepEqual(list[1].inQuery, ["factor"]);
  assert.deepEqual(fields(list[1].schema).map((field) => [field.name, field.required]), [["factor", true]]);
  assert.deepEqual(fields(list[2].schema), []);
  assert.deepEqual([list[3].whole, fields(list[3].schema)[0].kind], [true, "list"]);
});

test("titles", () => {
  assert.equal(titleOf("fal-ai/photo-maker_2"), "Photo maker 2");
});
