// fal's wire protocol, as its clients speak it, and the two listings of its platform API.
import { events, textOf } from "./events.mjs";
import { asCall } from "./values.mjs";

// Any key opens the local platform. Sending one makes a browser ask first (a preflight), which refuses other sites' pages.
const KEY = { authorization: "Key localfal:playground" };
const AGAIN_MS = [300, 700, 1500, 3000];

/** What the platform or the app refused: fal's `detail`, as a text or as a list of `{loc, msg, type}`. */
export class RequestError extends Error {
  constructor(status, content) {
    const detail = content?.detail;
    const list = Array.isArray(detail) ? detail.filter((one) => one && typeof one === "object") : [];
    super(typeof detail === "string" ? detail : list.length ? list.map((one) => one.msg).join("\n") : `The answer's status is ${status}.`);
    this.status = status;
    this.detail = list;
    this.content = content;
  }
}

export const isOffline = (error) => error instanceof TypeError || error?.name === "NetworkError";

async function call(method, url, body, signal) {
  const json = body === undefined ? {} : { "content-type": "application/json" };
  const response = await fetch(url, { method, signal, headers: { ...KEY, ...json }, body: body === undefined ? undefined : JSON.stringify(body) });
  const content = await contentOf(response);
  if (!response.ok) throw new RequestError(response.status, content);
  return content;
}

async function contentOf(response) {
  const text = await response.text();
  try {
    return JSON.parse(text, exact);
  } catch {
    return text; // an app may answer anything
  }
}

// Whole numbers beyond what JavaScript counts exactly, such as seeds of 64 bits, stay the digits that they are.
export function exact(key, value, context) {
  const lost = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
  return lost && /^-?\d+$/.test(context?.source ?? "") ? context.source : value;
}

export const models = async () => (await call("GET", "/v1/models?expand=openapi-3.0")).models;
export const examples = () => call("GET", "/playground/examples");

const LIST = "/v1/models/requests/by-endpoint";
export const requests = (cursor) => call("GET", `${LIST}${cursor ? `?cursor=${encodeURIComponent(cursor)}` : ""}`);
export const request = async (id) => (await call("GET", `${LIST}?expand=payloads&request_id=${encodeURIComponent(id)}`)).items[0];

/** Uploads a file in the clients' way; returns its URL. */
export async function upload(file, name) {
  const type = file.type || "application/octet-stream";
  const answer = await call("POST", "/storage/upload/initiate?storage_type=fal-cdn-v3", { file_name: name, content_type: type });
  // The platform names its own address; the page may have reached it under another name.
  const url = new URL(answer.upload_url, location.href);
  const response = await fetch(url.pathname + url.search, { method: "PUT", body: file, headers: { "content-type": type } });
  if (!response.ok) throw new RequestError(response.status, await contentOf(response));
  return answer.file_url;
}

export function submit(endpoint, values) {
  const { body, query } = asCall(endpoint, values);
  return call("POST", `/queue/${endpoint.id}${endpoint.path === "/" && query ? "/" : ""}${query}`, body);
}

const about = (app, id) => `/queue/${app}/requests/${id}`;
export const cancel = (app, id) => call("PUT", `${about(app, id)}/cancel`);
export const result = (app, id, signal) => call("GET", about(app, id), undefined, signal);

/**
 * A queued request's states until it is complete, through restarts of the platform. Each brings the new lines of its
 * log; `fresh` means that they begin anew, `offline` that the platform does not answer just now.
 */
export async function* follow(app, id, signal) {
  for (let failures = 0; ; failures++) {
    try {
      const response = await fetch(`${about(app, id)}/status/stream?logs=1`, { headers: KEY, signal });
      if (!response.ok) throw new RequestError(response.status, await contentOf(response));
      let fresh = true;
      for await (const data of events(textOf(response))) {
        failures = 0;
        const status = JSON.parse(data);
        yield { ...status, fresh };
        fresh = false;
        if (status.status === "COMPLETED") return;
      }
    } catch (error) {
      if (signal.aborted || (error instanceof RequestError && error.status < 500)) throw error;
    }
    signal.throwIfAborted();
    yield { offline: true };
    await new Promise((done) => setTimeout(done, AGAIN_MS[Math.min(failures, AGAIN_MS.length - 1)]));
  }
}

/** A streaming endpoint's events, as they come; text that is no JSON stays text. */
export async function* stream(endpoint, values, signal) {
  const { body, query } = asCall(endpoint, values);
  const url = `/${endpoint.id}${endpoint.path === "/" && query ? "/" : ""}${query}`;
  const headers = { ...KEY, accept: "text/event-stream", "content-type": "application/json" };
  const response = await fetch(url, { method: "POST", headers, signal, body: JSON.stringify(body ?? {}) });
  if (!response.ok || !(response.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
    const content = await contentOf(response);
    if (!response.ok) throw new RequestError(response.status, content);
    yield content;
    return;
  }
  for await (const data of events(textOf(response))) {
    try {
      yield JSON.parse(data);
    } catch {
      yield data;
    }
  }
}
