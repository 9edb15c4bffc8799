// All requests of the platform, newest first.
import { $, el, icon, iconButton } from "./dom.mjs";
import * as fal from "./fal.mjs";
import { media, shown } from "./media.mjs";
import { duration } from "./result.mjs";

const BUSY_MS = 1500;
const CALM_MS = 4000;

export class History {
  /** `onOpen(request)` shows a request, its payloads among it; `onOffline(whether)` tells of the platform. */
  constructor({ onOpen, onOffline }) {
    Object.assign(this, { onOpen, onOffline });
    this.list = $("#requests");
    this.entries = new Map(); // by id: {node, item, request: a promise of its payloads}
    this.older = []; // what "Older" has brought
    this.seen = new IntersectionObserver((changes) => changes.filter((one) => one.isIntersecting).forEach((one) => this.look(one.target)), { root: null });
    $("#older").addEventListener("click", () => this.more());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.refresh(); });
  }

  async refresh() {
    clearTimeout(this.timer);
    if (document.hidden) return;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    try {
      const page = await fal.requests();
      if (turn !== this.turn) return;
      this.onOffline(false);
      const ids = new Set(page.items.map((item) => item.request_id));
      this.show([...page.items, ...this.older.filter((item) => !ids.has(item.request_id))]);
      if (!this.older.length) this.cursor = page.next_cursor;
      $("#older").hidden = !this.cursor;
    } catch (error) {
      this.onOffline(fal.isOffline(error));
    }
    const busy = this.items?.some((item) => !item.ended_at) ?? true;
    if (turn === this.turn) this.timer = setTimeout(() => this.refresh(), busy ? BUSY_MS : CALM_MS);
  }

  async more() {
    const page = await fal.requests(this.cursor);
    this.older.push(...page.items);
    this.cursor = page.next_cursor;
    await this.refresh();
    $("#older").hidden = !this.cursor;
  }

  show(items) {
    this.items = items;
    const waiting = items.filter((item) => !item.ended_at).length;
    $("#requests-count").textContent = waiting ? String(waiting) : "";
    $("#requests-count").hidden = waiting === 0;
    $("#requests-empty").hidden = items.length > 0;
    const kept = new Set(items.map((item) => item.request_id));
    for (const [id, entry] of this.entries) {
      if (kept.has(id)) continue;
      entry.node.remove();
      this.entries.delete(id);
    }
    let before = null;
    for (const item of items.toReversed()) {
      const entry = this.entries.get(item.request_id) ?? this.add(item);
      if (entry.node.nextSibling !== before || !entry.node.parentNode) this.list.insertBefore(entry.node, before);
      this.paint(entry, item);
      before = entry.node;
    }
  }

  add(item) {
    const open = el("button", { type: "button", class: "entry-open", onclick: () => this.open(item.request_id) }, el("span", { class: "thumb" }), el("span", { class: "entry-text" }, el("span", { class: "entry-title" }, "…"), el("span", { class: "entry-meta" })));
    const node = el("li", { class: "entry", "data-id": item.request_id }, open);
    const entry = { node, item: {}, request: undefined };
    this.entries.set(item.request_id, entry);
    this.seen.observe(node);
    return entry;
  }

  // What is on the screen is loaded, once it has an end and once before: payloads may be megabytes.
  look(node) {
    const entry = this.entries.get(node.dataset.id);
    if (!entry) return;
    entry.visible = true;
    this.load(entry);
  }

  load(entry) {
    const ended = Boolean(entry.item.ended_at);
    if (!entry.visible || entry.loaded === (ended ? "whole" : "input") || entry.loaded === "whole") return;
    entry.loaded = ended ? "whole" : "input";
    fal.request(entry.item.request_id).then((request) => request && this.describe(entry, request), () => { entry.loaded = undefined; });
  }

  describe(entry, request) {
    const title = titleOf(request.json_input) || request.query || request.endpoint_id;
    $(".entry-title", entry.node).textContent = title;
    const picture = media(request.json_output).find((one) => one.kind === "image" && shown(one.url));
    if (picture) $(".thumb", entry.node).replaceChildren(el("img", { src: shown(picture.url), alt: "", loading: "lazy" }));
    entry.named = title;
  }

  paint(entry, item) {
    const state = stateOf(item);
    const { node } = entry;
    const meta = $(".entry-meta", node);
    const path = item.endpoint_id.split("/").slice(2).join("/");
    const text = [state.text, path && `/${path}`, ago(item.sent_at)].filter(Boolean).join(" · ");
    if (meta.textContent !== text) meta.textContent = text;
    if (node.dataset.state !== state.name) {
      node.dataset.state = state.name;
      if (!$(".thumb img", node)) $(".thumb", node).replaceChildren(icon(state.icon));
      $(".entry-cancel", node)?.remove();
      if (!item.ended_at) node.append(iconButton("cross", "Cancel this request", () => this.cancel(item), { class: "icon-button entry-cancel" }));
    }
    entry.item = item;
    this.load(entry);
    if (item.request_id === this.current) $(".entry-open", node).setAttribute("aria-current", "true");
    else $(".entry-open", node).removeAttribute("aria-current");
  }

  /** Marks the request that is shown. */
  mark(id) {
    this.current = id;
    for (const entry of this.entries.values()) this.paint(entry, entry.item);
  }

  async cancel(item) {
    const app = item.endpoint_id.split("/").slice(0, 2).join("/");
    await fal.cancel(app, item.request_id).catch(() => {});
    this.refresh();
  }

  async open(id) {
    const request = await fal.request(id).catch(() => undefined);
    if (request) this.onOpen(request);
  }
}

function titleOf(input) {
  if (!input || typeof input !== "object") return typeof input === "string" ? input : "";
  const texts = Object.entries(input).filter(([name, value]) => typeof value === "string" && value && !/(^|_)urls?$/.test(name));
  const [, text] = texts.find(([name]) => /(^|_)(prompt|text|query)$/.test(name)) ?? texts[0] ?? [];
  return (text ?? Object.keys(input).join(", ")).slice(0, 200);
}

function stateOf(item) {
  if (!item.ended_at) return item.started_at ? { name: "running", text: "Running", icon: "spark" } : { name: "waiting", text: "In the queue", icon: "clock" };
  if (item.status_code === 499) return { name: "cancelled", text: "Cancelled", icon: "minus" };
  if (item.status_code >= 400) return { name: "failed", text: `Failed with ${item.status_code}`, icon: "alert" };
  const seconds = item.duration ?? 0;
  return { name: "done", text: seconds < 60 ? `${seconds.toFixed(1)} s` : duration(Math.round(seconds)), icon: "check" };
}

function ago(moment) {
  const then = new Date(moment);
  const minutes = (Date.now() - then) / 60_000;
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${Math.floor(minutes)} min ago`;
  const clock = then.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  return then.toDateString() === new Date().toDateString() ? clock : `${then.toLocaleDateString([], { day: "numeric", month: "short" })}, ${clock}`;
}
