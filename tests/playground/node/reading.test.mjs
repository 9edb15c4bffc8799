import assert from "node:assert/strict";
import { test } from "node:test";
import { events } from "../../../src/localfal/playground/web/events.mjs";
import { highlight } from "../../../src/localfal/playground/web/highlight.mjs";
import { bytes, linkable, media, readable, shown } from "../../../src/localfal/playground/web/media.mjs";
import { ofEvent, ofLine } from "../../../src/localfal/playground/web/progress.mjs";

const all = async (chunks) => Array.fromAsync ? await Array.fromAsync(events(chunks)) : await collect(events(chunks));
async function collect(iterator) {
  const out = [];
  for await (const one of iterator) out.push(one);
  return out;
}
async function* chunked(...parts) {
  yield* parts;
}

test("events come whole, however the stream is cut", async () => {
  assert.deepEqual(await all(chunked('data: {"a"', ': 1}\n', "\nda", "ta: two\r\n\r\n: still here\n\n", "event: x\ndata: l1\ndata: l2\n\ndata: last")), ['{"a": 1}', "two", "l1\nl2", "last"]);
});

test("progress in lines of a log", () => {
  for (const [line, found] of [
    ["step 3/20", { done: 3, total: 20 }],
    [" 40%|████      | 8/20 [00:03<00:05,  2.2it/s]", { done: 8, total: 20 }],
    ["hello: step 2 of 4", { done: 2, total: 4 }],
    ["loading 15%", { done: 15, total: 100 }],
    ["12.5 % done", { done: 12.5, total: 100 }],
    ["on 2024/11/24", undefined],
    ["5/3", undefined],
    ["ratio 1/1", undefined],
    ["GET /a/1/2 HTTP/1.1", undefined],
    ["nothing", undefined],
  ]) assert.deepEqual(ofLine(line), found, line);
});

test("progress in events of a stream", () => {
  assert.deepEqual(ofEvent({ step: 3, steps: 10 }), { done: 3, total: 10 });
  assert.deepEqual(ofEvent({ progress: { step: 1, total_steps: 4 } }), { done: 1, total: 4 });
  assert.deepEqual(ofEvent({ progress: 0.25 }), { done: 0.25, total: 1 });
  assert.deepEqual(ofEvent({ progress: 40 }), { done: 40, total: 100 });
  assert.equal(ofEvent({ images: [] }), undefined);
  assert.equal(ofEvent("text"), undefined);
});

test("media wherever they are in an answer", () => {
  const found = media({
    images: [{ url: "https://v3.fal.media/files/00000000000000000000000000000000/a.png", content_type: "image/png", width: 8, height: 9, file_size: 70 }],
    deep: { video: { url: "https://x.test/v.mp4" } },
    preview: { url: "data:image/webp;base64,AAAA" },
    audio_url: "https://x.test/s",
    archive_url: "https://x.test/all_photos.zip",
    text: "https://x.test/not-this",
    evil: { url: "javascript:alert(1)" },
    odd: { url: 5 },
  });
  assert.deepEqual(found.map(({ kind, name }) => [kind, name]), [["image", "a.png"], ["video", "v.mp4"], ["image", "file.webp"], ["audio", "s"], ["file", "all_photos.zip"]]);
  assert.equal(media({ images: Array(2000).fill({ url: "https://x.test/a.png" }) }).length, 500);
  assert.equal(media({ a: { url: "https://x.test/a.png", file_name: "../../up.png" } })[0].name, "up.png");
});

test("only this platform's files are shown, by their path", () => {
  assert.equal(shown("http://127.0.0.1:8080/files/ab/a.png"), "/files/ab/a.png");
  assert.equal(shown("https://v3.fal.media/files/ab/a.png"), "/files/ab/a.png");
  assert.equal(shown("https://v3b.fal.media/files/ab/a.png"), "/files/ab/a.png");
  assert.equal(shown("data:image/png;base64,AA"), "data:image/png;base64,AA");
  for (const url of ["https://example.com/files/a.png", "http://127.0.0.1/other", "javascript:alert(1)", "https://v3.fal.media.evil.test/files/a", "http://["]) assert.equal(shown(url), undefined, url);
});

test("links lead to the web or to files, never to scripts", () => {
  for (const url of ["https://x.test", "http://x.test", "/files/a/b", "data:image/png;base64,AA"]) assert.ok(linkable(url), url);
  for (const url of ["javascript:alert(1)", "JAVASCRIPT:alert(1)", "data:text/html,<script>", "data:image/svg+xml,<svg>", "vbscript:x", " javascript:x"]) assert.ok(!linkable(url), url);
});

test("sizes and JSON for people", () => {
  assert.deepEqual([5, 1500, 2_500_000, 3e9].map(bytes), ["5 B", "2 kB", "2.5 MB", "3.00 GB"]);
  assert.match(readable({ url: "data:image/png;base64," + "A".repeat(9000) }), /… \(9022 characters\)/);
});

test("coloured code is the same text", () => {
  for (const language of ["json", "python", "javascript", "shell", "none"]) {
    for (const text of ['{"a": [1, -2.5e3, true, null, "x\\"y"]}', "import fal_client # <b>", "curl 'https://x' --json '{\"a\": 1}'", ""]) {
      assert.equal(highlight(text, language).map(([, part]) => part).join(""), text);
    }
  }
  assert.deepEqual(highlight('{"a": 1}', "json").map(([name]) => name), ["", "key", "", "number", ""]);
});
