// The current input as a call in three languages, each a whole program.
import { shown } from "./media.mjs";
import { asCall } from "./values.mjs";

const TYPES = {
  zip: "application/zip", png: "image/png", jpg: "image/jpeg", jpeg: "image/jpeg", webp: "image/webp", gif: "image/gif",
  avif: "image/avif", heic: "image/heic", mp4: "video/mp4", webm: "video/webm", mov: "video/quicktime", mp3: "audio/mpeg",
  wav: "audio/wav", ogg: "audio/ogg", flac: "audio/flac", json: "application/json", txt: "text/plain",
};

/** A file of this platform: nobody else can fetch it, so that a program uploads its own copy. */
class Upload {
  constructor(name) {
    this.name = name;
    this.type = TYPES[name.split(".").at(-1).toLowerCase()] ?? "application/octet-stream";
  }
}

function uploads(value) {
  if (typeof value === "string") {
    const path = /^(data|blob):/.test(value) ? undefined : shown(value);
    return path ? new Upload(path.split(/[?#]/)[0].split("/").at(-1).replace(/[^A-Za-z0-9._]+/g, "_") || "file") : value;
  }
  if (Array.isArray(value)) return value.map(uploads);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, uploads(inner)]));
  return value;
}

const hasUpload = (value) => value instanceof Upload || (value && typeof value === "object" && Object.values(value).some(hasUpload));

// A value in a language: scalars by `scalar`, files by `file`, keys by `key`.
function literal(value, style, by = 0) {
  if (value instanceof Upload) return style.file(value);
  if (value === null || typeof value !== "object") return style.scalar(value);
  const pad = " ".repeat(by + style.indent);
  const list = Array.isArray(value);
  const items = list
    ? value.map((one) => pad + literal(one, style, by + style.indent))
    : Object.entries(value).map(([name, one]) => `${pad}${style.key(name)}: ${literal(one, style, by + style.indent)}`);
  const [open, close] = list ? "[]" : "{}";
  return items.length ? `${open}\n${items.join(",\n")}${style.comma}\n${" ".repeat(by)}${close}` : open + close;
}

const PYTHON_NAMES = new Map([[null, "None"], [true, "True"], [false, "False"]]);
const PYTHON = {
  indent: 4,
  comma: ",",
  scalar: (value) => PYTHON_NAMES.get(value) ?? JSON.stringify(value),
  key: (name) => JSON.stringify(name),
  file: (upload) => `fal_client.upload_file(${JSON.stringify(upload.name)})`,
};
const JAVASCRIPT = {
  indent: 2,
  comma: ",",
  scalar: (value) => JSON.stringify(value),
  key: (name) => (/^[A-Za-z_$][\w$]*$/.test(name) && name !== "__proto__" ? name : JSON.stringify(name)),
  file: (upload) => `await upload(${JSON.stringify(upload.name)}, ${JSON.stringify(upload.type)})`,
};
// Inside single quotes of a shell, which are left for what an upload answers.
const SHELL = {
  indent: 2,
  comma: "",
  scalar: (value) => JSON.stringify(value).replaceAll("'", `'\\''`),
  key: (name) => JSON.stringify(name).replaceAll("'", `'\\''`),
  file: (upload) => `"'"$(upload ${upload.name} ${upload.type})"'"`,
};

const nested = (text, by) => text.replaceAll("\n", `\n${" ".repeat(by)}`);
const withQuery = (endpoint, query) => (query && endpoint.path === "/" ? `${endpoint.id}/${query}` : endpoint.id + query);

function python(endpoint, values) {
  const { body, query } = asCall(endpoint, values);
  const id = JSON.stringify(withQuery(endpoint, query));
  const input = nested(literal(uploads(body ?? {}), PYTHON), 4);
  if (endpoint.streams) {
    return `import fal_client

stream = fal_client.stream(
    ${id},
    arguments=${input},
    path="",
)
for event in stream:
    print(event)
`;
  }
  return `import fal_client


def on_queue_update(update):
    if isinstance(update, fal_client.InProgress):
        for log in update.logs:
            print(log["message"])


result = fal_client.subscribe(
    ${id},
    arguments=${input},
    with_logs=True,
    on_queue_update=on_queue_update,
)
print(result)
`;
}

function javascript(endpoint, values) {
  const { body, query } = asCall(endpoint, values);
  const content = uploads(body ?? {});
  const read = hasUpload(content);
  const head = `${read ? 'import { readFile } from "node:fs/promises";\n' : ""}import { fal } from "@fal-ai/client";
${read ? '\nconst upload = async (name, type) =>\n  fal.storage.upload(new File([await readFile(name)], name, { type }));\n' : ""}`;
  const id = JSON.stringify(withQuery(endpoint, query));
  const input = nested(literal(content, JAVASCRIPT), 2);
  if (endpoint.streams) {
    const url = endpoint.path.endsWith("/stream") && !query ? "" : `\n  url: ${JSON.stringify(`https://fal.run/${withQuery(endpoint, query)}`)},`;
    return `${head}
const stream = await fal.stream(${id}, {${url}
  input: ${input},
});
for await (const event of stream) {
  console.log(event);
}
console.log(await stream.done());
`;
  }
  return `${head}
const result = await fal.subscribe(${id}, {
  input: ${input},
  logs: true,
  onQueueUpdate: (update) => {
    if (update.status === "IN_PROGRESS") {
      update.logs.map((log) => log.message).forEach((message) => console.log(message));
    }
  },
});
console.log(result.data);
`;
}

const SHELL_UPLOAD = `upload() {
  answer=$(curl --silent --show-error --fail --header "Authorization: Key $FAL_KEY" \\
    --json "{\\"file_name\\": \\"$1\\", \\"content_type\\": \\"$2\\"}" \\
    "https://rest.fal.ai/storage/upload/initiate?storage_type=fal-cdn-v3")
  url() { echo "$answer" | sed "s/.*\\"$1\\": *\\"\\([^\\"]*\\)\\".*/\\1/"; }
  curl --silent --show-error --fail --upload-file "$1" --header "Content-Type: $2" "$(url upload_url)" >&2
  url file_url
}

`;

function curl(endpoint, values) {
  const { body, query } = asCall(endpoint, values);
  const content = uploads(body ?? {});
  const url = `https://fal.run/${withQuery(endpoint, query)}`;
  return `${hasUpload(content) ? SHELL_UPLOAD : ""}curl ${endpoint.streams ? "--no-buffer " : ""}'${url.replaceAll("'", "%27")}' \\
  --header "Authorization: Key $FAL_KEY" \\
  --json '${literal(content, SHELL)}'
`;
}

export const LANGUAGES = {
  python: { title: "Python", write: python },
  javascript: { title: "JavaScript", write: javascript },
  shell: { title: "cURL", write: curl },
};
