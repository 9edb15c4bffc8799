// The pictures that a request was given, to stand beside what was made of them.
import { contents } from "./archives.mjs";
import { shown } from "./media.mjs";
import { FILE_KINDS, fields, fileKind } from "./schema.mjs";

const MAX_PHOTOS = 24;

/** `{url, name}` of each picture among an endpoint's values, archives opened; those of other machines are left out. */
export async function photosOf(endpoint, values) {
  if (!endpoint?.schema || !values) return [];
  const found = [];
  for (const field of fields(endpoint.schema)) {
    const kind = field.kind === "files" ? fileKind(field.name, field.schema.items, field.ui) : field.kind;
    if (!FILE_KINDS.includes(kind) || !["archive", "image"].includes(kind)) continue;
    for (const value of [values[field.name]].flat()) {
      const url = typeof value === "object" ? value?.url : value;
      const source = typeof url === "string" ? shown(url) : undefined;
      if (!source) continue;
      if (kind === "image" && !/\.zip$/.test(source)) found.push({ url: source, name: field.title });
      else found.push(...(await inside(source)));
    }
  }
  return found.slice(0, MAX_PHOTOS);
}

async function inside(source) {
  if (source.startsWith("data:")) return [];
  const response = await fetch(source).catch(() => undefined);
  if (!response?.ok) return [];
  const files = await contents(await response.blob());
  return files.filter((file) => file.blob?.type.startsWith("image/")).map((file) => ({ url: URL.createObjectURL(file.blob), name: file.name }));
}
