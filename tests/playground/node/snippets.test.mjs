import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";
import { LANGUAGES } from "../../../src/localfal/playground/web/snippets.mjs";

const PYTHON = process.env.PYTHON ?? "python3";
const endpoint = (path = "/", streams = false, more = {}) => ({ id: `demo/app${path === "/" ? "" : path}`, app: "demo/app", path, streams, whole: false, inQuery: [], ...more });
const write = (language, values, one = endpoint()) => LANGUAGES[language].write(one, values);

const HARD = {
  prompt: `it's "hard": \\ $HOME \`id\` <b> ü 😀 ${"\u2028"}\nnew line`, none: null, yes: true, no: false, number: -1.5e-7, list: [1, [], {}], inner: { "a-b": { __proto__: 1 }, "in": 2 },
};

// Each program is cut down to its input, and run.
test("Python writes the very values", () => {
  const code = write("python", HARD);
  const input = /arguments=([\s\S]*?),\n    with_logs/.exec(code)[1];
  const told = execFileSync(PYTHON, ["-c", `import json; print(json.dumps(${input}))`], { encoding: "utf8" });
  assert.deepEqual(JSON.parse(told), JSON.parse(JSON.stringify(HARD)));
});

test("JavaScript writes the very values", () => {
  const input = /input: ([\s\S]*?),\n  logs/.exec(write("javascript", HARD))[1];
  assert.deepEqual(JSON.parse(JSON.stringify(new Function(`return ${input}`)())), JSON.parse(JSON.stringify(HARD)));
});

test("a shell hands on the very values", () => {
  const code = write("shell", HARD).replace(/^curl [^\n]*\n[^\n]*\n\s*--json /m, "printf %s ");
  assert.deepEqual(JSON.parse(execFileSync("sh", ["-c", code], { encoding: "utf8" })), JSON.parse(JSON.stringify(HARD)));
});

test("a local file's URL is never shown: programs upload their own copy", () => {
  const values = { image_archive_url: "http://127.0.0.1:8480/files/0123/photos.zip", image_urls: ["https://v3.fal.media/files/77/a.png"], mask: { url: "https://example.com/m.png" } };
  for (const language of Object.keys(LANGUAGES)) {
    const code = write(language, values);
    assert.doesNotMatch(code, /127\.0\.0\.1|files\/77/);
    assert.match(code, /photos\.zip/);
    assert.match(code, /https:\/\/example\.com\/m\.png/);
  }
  assert.match(write("python", values), /fal_client\.upload_file\("photos\.zip"\)/);
  assert.match(write("javascript", values), /fal\.storage\.upload/);
});

test("a file's name cannot leave its place", () => {
  for (const name of ["$(id).png", "a'b.png", 'a"b.png', "a;b.png", "-rf.png"]) {
    const code = write("shell", { image_url: `http://localhost/files/x/${name}` });
    assert.match(code, /\$\(upload [A-Za-z0-9._]+ image\/png\)/, code);
  }
});

test("arguments of the query and endpoints that stream", () => {
  const scale = endpoint("/scale", false, { inQuery: ["factor"] });
  for (const language of Object.keys(LANGUAGES)) assert.match(write(language, { factor: 2 }, scale), /demo\/app\/scale\?factor=2/);
  assert.match(write("python", { factor: 2 }, endpoint("/", false, { inQuery: ["factor"] })), /"demo\/app\/\?factor=2"/);
  const stream = endpoint("/stream", true);
  assert.match(write("python", { prompt: "x" }, stream), /fal_client\.stream\(\n    "demo\/app\/stream"/);
  assert.match(write("javascript", { prompt: "x" }, stream), /fal\.stream\("demo\/app\/stream", \{\n  input/);
  assert.match(write("javascript", { prompt: "x" }, endpoint("/watch", true)), /url: "https:\/\/fal\.run\/demo\/app\/watch"/);
  assert.match(write("shell", { prompt: "x" }, stream), /--no-buffer/);
});
