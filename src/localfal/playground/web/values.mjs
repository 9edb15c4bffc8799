// Values of a form: what is sent, what an example holds, what belongs where in a call.
import { FILE_KINDS, fields } from "./schema.mjs";

/** Whether two JSON values are equal, whatever the order of their keys. */
export function same(one, other) {
  if (one === other) return true;
  if (!one || !other || typeof one !== "object" || typeof other !== "object" || Array.isArray(one) !== Array.isArray(other)) return false;
  const keys = Object.keys(one);
  return keys.length === Object.keys(other).length && keys.every((key) => key in other && same(one[key], other[key]));
}

/** Only what the caller chose: required fields, and values that are not the default. */
export function chosen(list, valueOf) {
  const out = {};
  for (const field of list) {
    const value = valueOf(field.name);
    if (value === undefined) continue;
    if (!field.required && same(value, field.schema.default)) continue;
    out[field.name] = value;
  }
  return out;
}

/** Splits an endpoint's values into the body and the query string of its call. */
export function asCall(endpoint, values) {
  const query = new URLSearchParams();
  const body = {};
  for (const [name, value] of Object.entries(values)) {
    if (!endpoint.inQuery.includes(name)) body[name] = value;
    else for (const one of Array.isArray(value) ? value : [value]) query.append(name, String(one));
  }
  const text = query.toString();
  return { body: endpoint.whole ? body.body : body, query: text ? `?${text}` : "" };
}

/** The reverse, for a request of the past. */
export function asValues(endpoint, body, query) {
  const values = endpoint.whole ? (body === null || body === undefined ? {} : { body }) : { ...(body ?? {}) };
  for (const [name, text] of new URLSearchParams(query ?? "")) {
    if (!endpoint.inQuery.includes(name)) continue;
    const schema = endpoint.schema.properties[name];
    const value = schema.type === "integer" || schema.type === "number" ? Number(text) : schema.type === "boolean" ? text === "true" : text;
    values[name] = schema.type === "array" ? [...(values[name] ?? []), value] : value;
  }
  return values;
}

/** The endpoint's example request: its own, or the examples of the fields on the main form. */
export function exampleValues(endpoint) {
  if (endpoint.example) return endpoint.example;
  const list = fields(endpoint.schema).filter((field) => field.main && field.schema.examples?.length);
  return Object.fromEntries(list.map((field) => [field.name, field.schema.examples[0]]));
}

/** The example files that suit a field: archives for an archive, pictures for a picture; several may come from one. */
export function exampleFiles(kind, files, several = false) {
  const fits = {
    archive: (file) => /zip|x-tar|gzip/.test(file.content_type),
    image: (file) => file.content_type.startsWith("image/"),
    video: (file) => file.content_type.startsWith("video/"),
    audio: (file) => file.content_type.startsWith("audio/"),
    file: (file) => !file.content_type.startsWith("image/"),
  }[kind];
  if (!FILE_KINDS.includes(kind)) return [];
  const found = files.filter(fits);
  return found.length || kind !== "image" || !several ? found : exampleFiles("archive", files);
}
