// Media in an answer, wherever they are: fal.toolkit's files are objects with a url.

const ENDINGS = {
  image: ["png", "jpg", "jpeg", "webp", "gif", "avif", "bmp"],
  video: ["mp4", "webm", "mov", "mkv"],
  audio: ["mp3", "wav", "ogg", "flac", "m4a", "aac", "opus"],
};
const MAX_MEDIA = 500;

/** Every medium of a value, in order: `{url, kind, type, name, width, height, size, key}`. */
export function media(value) {
  const found = [];
  const walk = (node, key) => {
    if (found.length >= MAX_MEDIA) return;
    if (Array.isArray(node)) node.forEach((one) => walk(one, key));
    else if (node && typeof node === "object") {
      if (typeof node.url === "string" && isUrl(node.url)) found.push(describe(node, key));
      else Object.entries(node).forEach(([name, inner]) => walk(inner, name));
    } else if (typeof node === "string" && (/^data:(image|video|audio)\//.test(node) || (/(^|_)urls?$/.test(key) && isUrl(node)))) {
      found.push(describe({ url: node }, key));
    }
  };
  walk(value, "");
  return found;
}

const isUrl = (text) => /^(https?:\/\/|data:|\/files\/)/.test(text);

function describe(node, key) {
  const type = typeof node.content_type === "string" && node.content_type ? node.content_type : guess(node.url, key);
  const kind = /^(image|video|audio)\//.exec(type)?.[1] ?? "file";
  const number = (value) => (Number.isFinite(value) && value > 0 ? value : undefined);
  return { url: node.url, type, kind, key, name: nameOf(node, type), width: number(node.width), height: number(node.height), size: number(node.file_size) };
}

function guess(url, key) {
  const named = /^data:([^;,]+)/.exec(url)?.[1];
  if (named) return named;
  const ending = lastPart(url).split(".").at(-1).toLowerCase();
  const byEnding = Object.keys(ENDINGS).find((kind) => ENDINGS[kind].includes(ending));
  const byKey = /image|picture|photo|mask|preview/.test(key) ? "image" : /video/.test(key) ? "video" : /audio|speech/.test(key) ? "audio" : undefined;
  const kind = byEnding ?? (ending.length < 6 && lastPart(url).includes(".") ? undefined : byKey);
  return kind ? `${kind}/*` : "application/octet-stream";
}

function nameOf(node, type) {
  if (typeof node.file_name === "string" && node.file_name) return node.file_name.split(/[\\/]/).at(-1);
  const last = node.url.startsWith("data:") ? "" : lastPart(node.url);
  return last || `file.${type.split("/").at(-1).replace(/[^a-z0-9]+/gi, "") || "bin"}`;
}

function lastPart(url) {
  try {
    return decodeURIComponent(new URL(url, "http://localhost").pathname.split("/").at(-1));
  } catch {
    return "";
  }
}

const HERE = /^(localhost|127\.0\.0\.1|\[::1\]|(v3b?\.)?fal\.media)$/;

/** Where the page can show a URL from: this platform's files by their path, data as it is; else undefined. */
export function shown(url) {
  if (/^(data|blob):/.test(url)) return url;
  try {
    const parts = new URL(url, "http://localhost");
    return HERE.test(parts.hostname) && parts.pathname.startsWith("/files/") ? parts.pathname + parts.search : undefined;
  } catch {
    return undefined;
  }
}

/** Whether a link may lead there: a result says what it likes, `javascript:` included. */
export const linkable = (url) => /^(https?:\/\/|\/files\/|blob:|data:(?!text\/html|image\/svg))/.test(url);

export function bytes(count) {
  if (count < 1000) return `${count} B`;
  if (count < 999_500) return `${Math.round(count / 1000)} kB`;
  if (count < 999_500_000) return `${(count / 1e6).toFixed(1)} MB`;
  return `${(count / 1e9).toFixed(2)} GB`;
}

/** JSON for people: long strings, such as data URIs, are cut. */
export function readable(value) {
  const cut = (key, one) => (typeof one === "string" && one.length > 400 ? `${one.slice(0, 120)}… (${one.length} characters)` : one);
  return JSON.stringify(value, cut, 2) ?? "null";
}
