// What the platform says of its endpoints, and which control fits a field: fal's documented rules.

const MAX_DEPTH = 12;

/** The endpoints of `/v1/models?expand=openapi-3.0`: id, app, path, title, summary, input, and how each is called. */
export function endpoints(models) {
  return models.map(({ endpoint_id: id, metadata, openapi }) => {
    const app = appOf(id);
    const post = openapi.paths[`/${id}`].post;
    const result = openapi.paths[`/${id}/requests/{request_id}`].get.responses["200"].content ?? {};
    return {
      id,
      app,
      path: id.slice(app.length) || "/",
      title: titleOf(app),
      summary: metadata.description ?? "",
      // Declared, or named as fal's clients expect of one that streams.
      streams: "text/event-stream" in result || id.endsWith("/stream"),
      ...input(post, openapi),
    };
  });
}

/** `owner/alias` of an endpoint's id; workflows and comfy apps have a first part more. */
export const appOf = (id) => id.split("/").slice(0, /^(workflows|comfy)\//.test(id) ? 3 : 2).join("/");

export const titleOf = (app) => app.split("/").at(-1).replaceAll(/[-_]+/g, " ").replace(/^./, (first) => first.toUpperCase());

// A body that is no object is one field; arguments outside of a body go into the query.
function input(post, openapi) {
  const parameters = (post.parameters ?? []).filter((one) => one.in === "query");
  const query = Object.fromEntries(parameters.map((one) => [one.name, { ...resolve(one.schema, openapi), description: one.description ?? one.schema?.description }]));
  const asked = parameters.filter((one) => one.required).map((one) => one.name);
  const media = post.requestBody?.content?.["application/json"];
  const body = media ? resolve(media.schema, openapi) : { type: "object", properties: {} };
  const whole = typeOf(body) !== "object" || !body.properties;
  const properties = whole ? { body: { title: "Body", ...body } } : body.properties;
  const schema = {
    ...(whole ? {} : body),
    type: "object",
    properties: { ...properties, ...query },
    required: [...(whole ? (post.requestBody?.required ? ["body"] : []) : (body.required ?? [])), ...asked],
  };
  const examples = [media?.example, ...Object.values(media?.examples ?? {}).map((one) => one.value), body.example, ...(body.examples ?? [])];
  return { schema, whole, inQuery: Object.keys(query), example: examples.find((one) => one && typeof one === "object") };
}

/** A schema without `$ref`, `allOf` of one, or null among its choices; what refers to itself stays `cyclic`. */
export function resolve(schema, openapi, seen = []) {
  if (!schema || typeof schema !== "object") return {};
  if (schema.$ref) {
    const name = schema.$ref.split("/").at(-1);
    const { $ref, ...rest } = schema;
    if (seen.includes(name) || seen.length > MAX_DEPTH) return { type: "object", cyclic: true, ...rest };
    return { ref: name, ...resolve(openapi.components?.schemas?.[name], openapi, [...seen, name]), ...rest };
  }
  if (schema.allOf?.length === 1) {
    const { allOf, ...rest } = schema;
    return { ...resolve(allOf[0], openapi, seen), ...rest };
  }
  const all = schema.anyOf ?? schema.oneOf;
  if (all) {
    const { anyOf, oneOf, ...rest } = schema;
    const nullable = all.some((one) => one.type === "null");
    const choices = all.filter((one) => one.type !== "null").map((one) => resolve(one, openapi, seen));
    const numbers = choices.every((one) => one.type === "integer" || one.type === "number");
    if (choices.length === 1) return { ...choices[0], ...rest, nullable };
    if (numbers && choices.length) return { ...choices.find((one) => one.type === "number"), ...rest, nullable };
    return { ...rest, nullable, variants: choices };
  }
  const out = { ...schema };
  if (Array.isArray(schema.type)) {
    out.type = schema.type.find((one) => one !== "null");
    out.nullable = schema.type.includes("null");
  }
  if (schema.const !== undefined) out.enum = [schema.const];
  if (schema.properties) {
    out.properties = Object.fromEntries(Object.entries(schema.properties).map(([name, inner]) => [name, resolve(inner, openapi, seen)]));
  }
  if (schema.items) out.items = resolve(schema.items, openapi, seen);
  return out;
}

/** The fields of an object schema, in fal's order; `main` ones come first, the rest is "Additional settings". */
export function fields(object) {
  const all = Object.keys(object.properties ?? {});
  const listed = (object["x-fal-order-properties"] ?? []).filter((name) => all.includes(name));
  const required = new Set(object.required ?? []);
  return [...listed, ...all.filter((name) => !listed.includes(name))].flatMap((name) => {
    const field = describe(name, object.properties[name], required.has(name));
    return field.ui.hidden && !field.required ? [] : [field];
  });
}

export function describe(name, schema, required) {
  const ui = schema.ui ?? schema["x-fal-ui"] ?? {};
  return {
    name,
    schema,
    ui,
    required,
    kind: kindOf(name, schema, ui, required),
    title: schema.title ?? titleOf(name),
    hint: [schema.description, ui.hint].filter((text) => typeof text === "string" && text).join(" ").replaceAll(/\s*\n\s*/g, " "),
    main: required || Boolean(ui.important),
    frozen: Boolean(ui.frozen),
  };
}

export const FILE_KINDS = ["archive", "image", "video", "audio", "file"];

// By the name of a field that holds a URL; the first that fits.
const NAMES = [
  [/(^|_)(archive|data|zip)_urls?$/, "archive"],
  [/(^|_)(image|mask|photo|picture|face)_urls?$/, "image"],
  [/(^|_)video_urls?$/, "video"],
  [/(^|_)(audio|voice|speech|music)_urls?$/, "audio"],
  [/(^|_)urls?$/, "file"],
];
const NO_FILE = /(^|_)(webhook|callback|redirect)_urls?$/;

const typeOf = (schema) => schema.type ?? (schema.properties ? "object" : schema.enum ? "string" : undefined);

export function fileKind(name, schema, ui = {}) {
  const type = typeOf(schema);
  if (type === "object") {
    // fal.toolkit's File and its kin: an object with a url.
    const own = (schema.ui ?? {}).field;
    const asked = ui.field ?? own;
    if (schema.properties?.url && (FILE_KINDS.includes(asked) || schema.properties.content_type)) return FILE_KINDS.includes(asked) ? asked : "file";
    return undefined;
  }
  if (type !== "string" || schema.enum) return undefined;
  if (FILE_KINDS.includes(ui.field)) return ui.field;
  if (NO_FILE.test(name)) return undefined;
  return NAMES.find(([pattern]) => pattern.test(name))?.[1];
}

function kindOf(name, schema, ui, required) {
  if (schema.cyclic) return "json";
  if (schema.variants) return "variants";
  const type = typeOf(schema);
  if (type === "array") {
    const items = schema.items ?? {};
    if (items.enum) return "checks";
    if (fileKind(name, items, ui)) return "files";
    return items.cyclic || items.variants?.some((one) => one.cyclic) || typeOf(items) === undefined || typeOf(items) === "array" ? "json" : "list";
  }
  if (schema.enum) return schema.enum.length === 1 && (required || schema.const !== undefined) ? "constant" : "select";
  const file = fileKind(name, schema, ui);
  if (file) return file;
  if (type === "object") return schema.properties && Object.keys(schema.properties).length ? "object" : "json";
  if (type === "boolean") return "switch";
  if (type === "integer" || type === "number") {
    if (/(^|_)seed$/.test(name) || ui.field === "seed") return "seed";
    const { min, max } = bounds(schema);
    return min !== undefined && max !== undefined ? "slider" : "number";
  }
  if (type === "string") return /(^|_)(prompt|text|instructions?)$/.test(name) || ui.field === "textarea" || schema.maxLength > 300 ? "textarea" : "text";
  return "json";
}

export function bounds(schema) {
  return {
    min: schema.minimum ?? schema.exclusiveMinimum,
    max: schema.maximum ?? schema.exclusiveMaximum,
    step: schema.multipleOf ?? (schema.type === "integer" ? 1 : undefined),
  };
}

/** How a variant of a choice is called in a selector. */
export function variantTitle(schema) {
  if (schema.enum) return "Preset";
  if (schema.properties) return (schema.title ?? schema.ref ?? "Custom").replaceAll(/(?<=[a-z])(?=[A-Z])/g, " ");
  return { string: "Text", integer: "Number", number: "Number", boolean: "Yes or no", array: "List" }[typeOf(schema)] ?? "JSON";
}

/** Which variant a value belongs to; the first when none fits. */
export function variantOf(variants, value) {
  const fits = (schema) => {
    if (schema.enum) return schema.enum.includes(value);
    const type = Array.isArray(value) ? "array" : value === null ? "null" : typeof value;
    const wanted = typeOf(schema);
    if (wanted === "object" && type === "object") {
      return Object.entries(schema.properties ?? {}).every(([name, inner]) => !(inner.enum?.length === 1) || value[name] === inner.enum[0]);
    }
    return wanted === type || (type === "number" && (wanted === "number" || (wanted === "integer" && Number.isInteger(value))));
  };
  return Math.max(0, variants.findIndex(fits));
}
