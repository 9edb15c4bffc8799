// Zip archives: several files as one, stored as they are (photos do not get smaller), and a look into one.

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});
const MAX_BYTES = 0xffff_fffe;
const MAX_FILES = 0xfffe;
const MAX_ENTRIES = 200;
const MAX_ENTRY_BYTES = 64 * 1024 * 1024;
const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;

export function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** Names for inside an archive: last parts only, no two the same. */
export function names(files) {
  const taken = new Set();
  return files.map(({ name }) => {
    const last = name.split(/[\\/]/).at(-1).replace(/^\.+/, "") || "file";
    let free = last;
    for (let count = 2; taken.has(free.toLowerCase()); count++) free = last.replace(/(\.[^.]*)?$/, (ending) => `-${count}${ending}`);
    taken.add(free.toLowerCase());
    return free;
  });
}

/** One zip of files (anything with a name and arrayBuffer()), as a Blob. */
export async function zip(files) {
  if (files.length > MAX_FILES) throw new Error(`${files.length} files are more than one zip holds.`);
  const parts = [];
  const directory = [];
  const called = names(files);
  let offset = 0;
  for (const [index, file] of files.entries()) {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const name = new TextEncoder().encode(called[index]);
    if (offset + bytes.length > MAX_BYTES) throw new Error("The files are more than the 4 GB that one zip holds.");
    // Version, UTF-8 names, stored, a date (1 January 1980), checksum, sizes, length of the name.
    const shared = [20, 0x800, 0, 0, 0x21, crc32(bytes), bytes.length, bytes.length, name.length, 0];
    const widths = [2, 2, 2, 2, 2, 4, 4, 4, 2, 2];
    const local = record([LOCAL, ...shared], [4, ...widths]);
    directory.push(record([CENTRAL, 20, ...shared, 0, 0, 0, 0, offset], [4, 2, ...widths, 2, 2, 2, 4, 4]), name);
    parts.push(local, name, bytes);
    offset += local.length + name.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = record([END, 0, 0, files.length, files.length, size, offset, 0], [4, 2, 2, 2, 2, 4, 4, 2]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

function record(values, widths) {
  const view = new DataView(new ArrayBuffer(widths.reduce((sum, width) => sum + width)));
  let at = 0;
  widths.forEach((width, index) => {
    if (width === 4) view.setUint32(at, values[index], true);
    else view.setUint16(at, values[index], true);
    at += width;
  });
  return new Uint8Array(view.buffer);
}

/** What a zip holds, up to 200 files: `{name, size, content()}`; folders and hidden files are left out. */
export async function entries(blob) {
  const tail = new DataView(await blob.slice(Math.max(0, blob.size - 66_000)).arrayBuffer());
  let end = tail.byteLength - 22;
  while (end >= 0 && tail.getUint32(end, true) !== END) end--;
  if (end < 0) throw new Error("This is not a zip archive.");
  const [size, start] = [tail.getUint32(end + 12, true), tail.getUint32(end + 16, true)];
  const directory = new DataView(await blob.slice(start, start + size).arrayBuffer());
  const found = [];
  for (let at = 0; at + 46 <= directory.byteLength && directory.getUint32(at, true) === CENTRAL && found.length < MAX_ENTRIES; ) {
    const [nameLength, extra, comment] = [28, 30, 32].map((field) => directory.getUint16(at + field, true));
    const entry = {
      method: directory.getUint16(at + 10, true),
      packed: directory.getUint32(at + 20, true),
      size: directory.getUint32(at + 24, true),
      offset: directory.getUint32(at + 42, true),
    };
    const path = new TextDecoder().decode(new Uint8Array(directory.buffer, at + 46, Math.min(nameLength, directory.byteLength - at - 46)));
    const name = path.split("/").at(-1);
    if (name && !/(^|\/)(\.|__MACOSX)/.test(path)) found.push({ name, size: entry.size, content: () => content(blob, entry) });
    at += 46 + nameLength + extra + comment;
  }
  return found;
}

async function content(blob, { method, packed, size, offset }) {
  if (size > MAX_ENTRY_BYTES || packed > MAX_ENTRY_BYTES) throw new Error("Too large to be shown.");
  const head = new DataView(await blob.slice(offset, offset + 30).arrayBuffer());
  const start = offset + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  const data = blob.slice(start, start + packed);
  if (method === 0) return data;
  if (method !== 8) throw new Error("Packed in a way that is not shown here.");
  const reader = data.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const parts = [];
  for (let count = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return new Blob(parts);
    count += value.length;
    if (count > size) {
      await reader.cancel();
      throw new Error("Larger than the archive says.");
    }
    parts.push(value);
  }
}
