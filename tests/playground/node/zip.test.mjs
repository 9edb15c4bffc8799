import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { crc32, entries, names, zip } from "../../../src/localfal/playground/web/zip.mjs";

const PYTHON = process.env.PYTHON ?? "python3";
const python = (code, ...args) => execFileSync(PYTHON, ["-c", code, ...args], { encoding: "utf8" });
const folder = mkdtempSync(join(tmpdir(), "zip-"));

test("the known checksum", () => {
  assert.equal(crc32(new TextEncoder().encode("123456789")), 0xcbf43926);
});

test("names inside are last parts, and no two the same", () => {
  const given = ["a.png", "dir/a.png", "..\\A.png", "../../etc/passwd", "a-2.png", ".hidden", "", "zwei Bücher.jpg"].map((name) => ({ name }));
  assert.deepEqual(names(given), ["a.png", "a-2.png", "A-3.png", "passwd", "a-2-2.png", "hidden", "file", "zwei Bücher.jpg"]);
});

test("what is packed Python's zipfile opens", async () => {
  const noise = Uint8Array.from({ length: 70_000 }, (_, n) => (n * 7919) % 251);
  const packed = await zip([new File([noise], "x/ü.bin"), new File([], "empty.txt"), new File(["hello"], "empty.txt")]);
  const path = join(folder, "made.zip");
  writeFileSync(path, Buffer.from(await packed.arrayBuffer()));
  const told = python(
    "import sys, json, zipfile; z = zipfile.ZipFile(sys.argv[1]); print(json.dumps([z.testzip(), [[i.filename, i.file_size] for i in z.infolist()]]))",
    path,
  );
  assert.deepEqual(JSON.parse(told), [null, [["ü.bin", 70_000], ["empty.txt", 0], ["empty-2.txt", 5]]]);
  const read = await entries(packed);
  assert.deepEqual(new Uint8Array(await (await read[0].content()).arrayBuffer()), noise);
});

test("what Python's zipfile packs is looked into", async () => {
  const path = join(folder, "given.zip");
  python(
    `import sys, zipfile
z = zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED)
z.writestr("photos/", ""); z.writestr("photos/a.txt", "a" * 5000); z.writestr("__MACOSX/._a.txt", "x"); z.writestr(".DS_Store", "x")
z.comment = b"PK" * 100
z.close()`,
    path,
  );
  const found = await entries(new Blob([readFileSync(path)]));
  assert.deepEqual(found.map(({ name, size }) => [name, size]), [["a.txt", 5000]]);
  assert.equal(await (await found[0].content()).text(), "a".repeat(5000));
});

test("what is no zip, or lies about its size, is refused", async () => {
  await assert.rejects(entries(new Blob(["not a zip"])), /not a zip/);
  const path = join(folder, "liar.zip");
  python(`import sys, zipfile
z = zipfile.ZipFile(sys.argv[1], "w", zipfile.ZIP_DEFLATED); z.writestr("bomb.txt", "0" * 2_000_000); z.close()`, path);
  const bytes = readFileSync(path);
  bytes.writeUInt32LE(10, bytes.indexOf(Buffer.from([0x50, 0x4b, 1, 2])) + 24);
  const [bomb] = await entries(new Blob([bytes]));
  await assert.rejects(bomb.content(), /Larger than/);
});
