// Running: a request is sent and followed to its end, from wherever it stands.
import * as fal from "./fal.mjs";
import { media } from "./media.mjs";
import * as progress from "./progress.mjs";

const CANCELLED = 499;

export class Runs {
  /** `onChange()` after a request was sent or ended; `onErrors(detail)` puts messages at fields, returns the others. */
  constructor(panel, { onChange, onErrors, onOffline }) {
    Object.assign(this, { panel, onChange, onErrors, onOffline });
    this.current = undefined; // {id?, endpoint, values, stop, over}
    document.addEventListener("visibilitychange", () => this.visibility());
  }

  async submit(endpoint, values) {
    this.leave();
    this.panel.begin("Sending");
    if (endpoint.streams) return this.stream(endpoint, values);
    const { request_id: id } = await fal.submit(endpoint, values);
    this.watch({ id, endpoint, values });
    this.onChange();
    return id;
  }

  /** Shows a request; what another was shown of is left, and goes on. */
  watch({ id, endpoint, values, since }) {
    this.leave();
    this.panel.begin("Looking it up");
    this.current = { id, endpoint, values, since, app: endpoint?.app, over: false };
    return this.follow(this.current);
  }

  async follow(run) {
    run.stop = new AbortController();
    const { signal } = run.stop;
    try {
      let last;
      for await (const status of fal.follow(run.app, run.id, signal)) {
        this.onOffline(Boolean(status.offline));
        if (status.offline) continue;
        last = status;
        this.panel.lines(status.logs?.map((line) => line.message), status.fresh);
        if (status.status === "IN_QUEUE") this.panel.waiting(status.queue_position ?? 0, run.since);
        if (status.status === "IN_PROGRESS") this.panel.working();
        for (const line of status.logs ?? []) this.advance(progress.ofLine(line.message));
      }
      const seconds = last?.metrics?.inference_time;
      await this.end(run, () => fal.result(run.app, run.id, signal), seconds);
    } catch (error) {
      if (!signal.aborted) this.fail(run, error);
    }
  }

  advance(found) {
    if (found && !this.current?.over) this.panel.progress(found);
  }

  async end(run, result, seconds) {
    const signal = run.stop.signal;
    try {
      const output = await result();
      if (signal.aborted) return;
      run.over = true;
      this.panel.done(output, { seconds, endpoint: run.endpoint, values: run.values });
    } catch (error) {
      if (signal.aborted) return;
      if (fal.isOffline(error)) { // between its last status and its result
        this.follow(run);
        return;
      }
      this.fail(run, error);
    }
    this.onChange();
  }

  fail(run, error) {
    if (run) run.over = true;
    if (error.status === CANCELLED) {
      this.panel.cancelled();
      return;
    }
    const rest = error.detail?.length ? this.onErrors(error.detail) : [error.message];
    const title = error.status === 404 ? "Not there any more" : error.status ? `Failed with ${error.status}` : "Failed";
    this.panel.failed(title, rest, Boolean(error.detail?.length));
  }

  async stream(endpoint, values) {
    const run = { endpoint, values, stop: new AbortController(), streamed: true, over: false };
    this.current = run;
    const began = performance.now();
    let last;
    this.panel.working();
    try {
      for await (const event of fal.stream(endpoint, values, run.stop.signal)) {
        last = event;
        const found = progress.ofEvent(event);
        if (found) this.panel.progress(found);
        this.panel.previews(media(event));
        const line = lineOf(event);
        if (line) this.panel.lines([line], false);
      }
      if (Array.isArray(last?.detail) || typeof last?.detail === "string") throw new fal.RequestError(last.status ?? last.status_code ?? 500, last);
      run.over = true;
      this.panel.done(last, { seconds: (performance.now() - began) / 1000, endpoint, values });
    } catch (error) {
      if (run.stop.signal.aborted) {
        if (this.current === run) this.panel.cancelled();
      } else this.fail(run, error);
    }
  }

  async cancel() {
    const run = this.current;
    if (!run) return;
    this.panel.state("Cancelling", "busy");
    if (run.streamed) run.stop.abort();
    else await fal.cancel(run.app, run.id).catch(() => {}); // over by now: its end is on its way
  }

  /** Forgets what is shown; a queued request goes on, a streamed one ends with its caller. */
  leave() {
    this.current?.stop?.abort();
    this.current = undefined;
  }

  // A tab that nobody sees holds no connection: a browser has six for all of them.
  visibility() {
    const run = this.current;
    if (!run || run.over || run.streamed) return;
    run.stop?.abort();
    if (!document.hidden) this.follow(run);
  }
}

// What of a streamed event is worth a line: what it says, else all of it but its pictures.
function lineOf(event) {
  if (typeof event === "string") return event.slice(0, 400);
  if (!event || typeof event !== "object") return undefined;
  const said = [event.message, event.log, event.text].find((one) => typeof one === "string");
  if (said !== undefined || progress.ofEvent(event)) return said; // the bar tells of progress
  const text = JSON.stringify(event, (key, value) => (typeof value === "string" && /^data:/.test(value) ? undefined : value));
  return text.length <= 300 ? text : undefined;
}
