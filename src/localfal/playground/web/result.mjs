// The result: how far a request is, then what it brought, whatever an app answers.
import { $, copy, el, icon, iconButton, save, say } from "./dom.mjs";
import { highlight } from "./highlight.mjs";
import { bytes, linkable, media, readable, shown } from "./media.mjs";
import { photosOf } from "./photos.mjs";
import { openViewer } from "./viewer.mjs";
import { zip } from "./zip.mjs";

const MAX_LOG_LINES = 2000;
const MAX_JSON = 200_000;

export class ResultPanel {
  /** `onSeed(seed)` takes a result's seed into the form; `hasSeed()` says whether there is a place for it. */
  constructor({ onSeed, hasSeed }) {
    Object.assign(this, { onSeed, hasSeed });
    this.stage = $("#stage");
    this.log = $("#log-lines");
    this.empty = this.stage.firstElementChild;
    $("#view-json").addEventListener("click", () => this.view("json"));
    $("#view-media").addEventListener("click", () => this.view("media"));
    $("#copy-json").addEventListener("click", (event) => copy(JSON.stringify(this.output, null, 2), event.currentTarget));
    setInterval(() => this.tick(), 500);
  }

  idle() {
    this.clear();
    this.stage.replaceChildren(this.empty);
    this.state("", "");
  }

  begin(text) {
    this.clear();
    this.started = Date.now();
    this.state(text, "busy");
    this.bar(undefined);
    this.stage.replaceChildren(el("div", { class: "skeleton" }, el("div", { class: "shimmer" }, icon("image"))));
  }

  clear() {
    this.output = undefined;
    this.started = undefined;
    this.pace = undefined;
    this.said = "";
    this.lines(undefined, true);
    $("#problem").replaceChildren();
    $("#facts").replaceChildren();
    $("#elapsed").textContent = "";
    $("#view").hidden = true;
    $("#json").hidden = true;
    $("#bar").hidden = true;
    $("#cancel").hidden = true;
    this.stage.hidden = false;
  }

  state(text, look) {
    if ($("#state-text").textContent !== text) $("#state-text").textContent = text;
    $("#state").dataset.look = look;
  }

  /** `since` is when the platform got the request, in milliseconds; it may be long ago. */
  waiting(position, since) {
    this.started = since ?? this.started;
    this.bar(undefined);
    this.state(position === 0 ? "Next in the queue" : `In the queue behind ${position} ${position === 1 ? "other" : "others"}`, "busy");
    $("#cancel").hidden = false;
  }

  working() {
    if ($("#state").dataset.look !== "busy" || !/^(Running|Step|\d)/.test($("#state-text").textContent)) this.state("Running", "busy");
    $("#cancel").hidden = false;
  }

  progress({ done, total }) {
    this.bar(done / total);
    const now = Date.now();
    if (!this.pace || done < this.pace.done) this.pace = { done, at: now };
    const per = done > this.pace.done ? (now - this.pace.at) / (done - this.pace.done) : undefined;
    this.left = per && done - this.pace.done > 1 ? Math.round((per * (total - done)) / 1000) : undefined;
    this.state(total === 1 || total === 100 ? `Running, ${Math.round((100 * done) / total)} %` : `Running, ${done} of ${total}`, "busy");
  }

  bar(share) {
    const bar = $("#bar");
    bar.hidden = false;
    bar.classList.toggle("unknown", share === undefined);
    if (share === undefined) bar.removeAttribute("aria-valuenow");
    else bar.setAttribute("aria-valuenow", String(Math.round(share * 100)));
    bar.firstElementChild.style.setProperty("--share", String(share ?? 0));
  }

  tick() {
    if (!this.started || this.output !== undefined) return;
    const seconds = Math.max(0, Math.round((Date.now() - this.started) / 1000));
    const left = this.left > 0 && $("#bar").hasAttribute("aria-valuenow") ? ` · ${duration(this.left)} left` : "";
    $("#elapsed").textContent = `${duration(seconds)}${left}`;
  }

  lines(texts, fresh) {
    if (fresh) this.log.replaceChildren();
    const atEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 40;
    for (const text of texts ?? []) this.log.append(`${text}\n`);
    while (this.log.childNodes.length > MAX_LOG_LINES) this.log.firstChild.remove();
    const count = this.log.childNodes.length;
    $("#log").hidden = count === 0;
    $("#log-count").textContent = count ? `${count}${count === MAX_LOG_LINES ? " or more" : ""}` : "";
    if (atEnd) this.log.scrollTop = this.log.scrollHeight;
  }

  /** Pictures of a stream that are not the last. */
  previews(found) {
    const pictures = found.filter((one) => one.kind === "image" && shown(one.url)).slice(0, 16);
    if (!pictures.length) return;
    const tiles = pictures.map((one) => el("figure", { class: "tile-figure preview" }, el("img", { src: shown(one.url), alt: "Preview", width: one.width, height: one.height }), el("figcaption", {}, el("span", { class: "tag" }, "Preview"))));
    this.stage.replaceChildren(gallery(tiles));
  }

  done(output, { seconds, endpoint, values }) {
    this.output = output ?? null;
    const found = media(output);
    this.finish(seconds === undefined ? "Done" : `Done in ${seconds < 100 ? seconds.toFixed(1) : Math.round(seconds)} s`, "good");
    const photos = photosOf(endpoint, values);
    const items = found.map((one, index) => ({ ...one, label: found.length > 1 ? `Result ${index + 1} of ${found.length}` : "Result" }));
    const pictures = items.filter((one) => one.kind === "image" && shown(one.url));
    const tiles = items.map((item) => this.tile(item, pictures, photos));
    this.stage.replaceChildren(...(tiles.length ? [gallery(tiles)] : []), ...texts(output));
    if (!this.stage.hasChildNodes()) this.stage.append(el("p", { class: "quiet-text" }, "The answer has nothing to look at; it is under JSON."));
    this.facts(output, items, pictures, photos);
    $("#view").hidden = false;
    this.view("media");
    say("The result is there.");
  }

  facts(output, items, pictures, photos) {
    const parts = [];
    const seed = output && typeof output === "object" ? output.seed : undefined;
    if (Number.isFinite(seed) || /^-?\d{16,}$/.test(seed)) {
      const use = this.hasSeed() && el("button", { type: "button", class: "link", onclick: () => this.onSeed(seed) }, "Use again");
      parts.push(el("span", { class: "fact" }, icon("dice"), el("span", {}, "Seed ", el("code", { id: "seed" }, String(seed))), use));
    }
    const own = items.filter((one) => shown(one.url));
    if (own.length > 1) parts.push(el("button", { type: "button", class: "quiet small", onclick: (event) => downloadAll(own, event.currentTarget) }, icon("download"), "Download all"));
    if (pictures.length) {
      const compare = el("button", { type: "button", class: "quiet small", hidden: true, onclick: () => openViewer(pictures, 0, photos, true) }, icon("compare"), "Compare with the photos");
      photos.then((list) => { compare.hidden = list.length === 0; }, () => {});
      parts.push(compare);
    }
    $("#facts").replaceChildren(...parts);
  }

  tile(item, pictures, photos) {
    const source = shown(item.url);
    const about = [item.width && item.height && `${item.width} × ${item.height}`, item.size && bytes(item.size)].filter(Boolean).join(" · ");
    const caption = el("figcaption", {}, el("span", { class: "about" }, about || item.name), source ? el("a", { class: "icon-button", href: source, download: item.name, "aria-label": `Download ${item.label}`, title: `Download ${item.name}` }, icon("download")) : null);
    if (!source) {
      const host = hostOf(item.url);
      const link = linkable(item.url) ? el("a", { class: "elsewhere", href: item.url, target: "_blank", rel: "noopener noreferrer" }, icon("external"), el("span", {}, el("b", {}, item.name), el("small", {}, `Open at ${host}`))) : el("p", { class: "elsewhere" }, item.url.slice(0, 200));
      return el("figure", { class: "tile-figure plain" }, link);
    }
    if (item.kind === "image") {
      const open = () => openViewer(pictures, pictures.indexOf(item), photos, false);
      const image = el("img", { src: source, alt: item.label, width: item.width, height: item.height });
      image.addEventListener("error", () => image.replaceWith(el("span", { class: "broken" }, icon("image"), "This picture is no longer there.")));
      return el("figure", { class: "tile-figure" }, el("button", { type: "button", class: "open", "aria-label": `${item.label}: look at it in full size`, onclick: open }, image), caption);
    }
    if (item.kind === "video") return el("figure", { class: "tile-figure" }, el("video", { src: source, controls: true, loop: true, playsinline: true, "aria-label": item.label }), caption);
    if (item.kind === "audio") return el("figure", { class: "tile-figure plain wide" }, el("audio", { src: source, controls: true, "aria-label": item.label }), caption);
    return el("figure", { class: "tile-figure plain" }, el("div", { class: "elsewhere" }, icon("file"), el("b", {}, item.name)), caption);
  }

  /** `lines` are the messages that belong to no field; the others stand at theirs. */
  failed(title, lines, atFields) {
    this.finish(title, "bad");
    this.stage.replaceChildren();
    const texts = lines.length ? lines : atFields ? ["See the marked fields of the form."] : [];
    $("#problem").replaceChildren(el("div", { class: "problem" }, icon("alert"), el("div", {}, texts.map((text) => el("p", {}, text)))));
  }

  cancelled() {
    this.finish("Cancelled", "");
    this.stage.replaceChildren(el("p", { class: "quiet-text" }, "The request was cancelled."));
  }

  finish(text, look) {
    this.started = undefined;
    $("#bar").hidden = true;
    $("#cancel").hidden = true;
    $("#elapsed").textContent = "";
    this.state(text, look);
  }

  view(name) {
    const json = name === "json";
    $("#view-json").setAttribute("aria-pressed", String(json));
    $("#view-media").setAttribute("aria-pressed", String(!json));
    if (json) {
      const text = typeof this.output === "string" ? this.output : readable(this.output);
      $("#json-text").replaceChildren(...coloured(text.slice(0, MAX_JSON), "json"));
    }
    $("#json").hidden = !json;
    this.stage.hidden = json;
  }
}

const gallery = (tiles) => el("div", { class: "gallery", "data-count": Math.min(tiles.length, 5) }, tiles);

export const coloured = (text, language) => highlight(text, language).map(([name, part]) => (name ? el("span", { class: `c-${name}` }, part) : part));

// Texts and numbers that an answer has beside its media.
function texts(output) {
  if (typeof output === "string") return [el("pre", { class: "answer", tabindex: "0", "aria-label": "Answer" }, output.slice(0, MAX_JSON))];
  if (!output || typeof output !== "object" || Array.isArray(output)) return [];
  const short = (value) => ["string", "number", "boolean"].includes(typeof value) || (Array.isArray(value) && value.length > 0 && value.length <= 12 && value.every((one) => ["string", "number", "boolean"].includes(typeof one)));
  const rows = Object.entries(output).filter(([name, value]) => name !== "seed" && short(value) && value !== "" && media({ [name]: value }).length === 0);
  if (!rows.length) return [];
  return [el("dl", { class: "texts" }, rows.map(([name, value]) => el("div", {}, el("dt", {}, name.replaceAll("_", " ")), el("dd", {}, Array.isArray(value) ? value.join(", ") : String(value)))))];
}

function hostOf(url) {
  try {
    return new URL(url, location.href).host || url.split(":")[0];
  } catch {
    return "an unknown place";
  }
}

async function downloadAll(items, button) {
  button.disabled = true;
  try {
    const files = await Promise.all(items.map(async (item) => {
      // A data URI is taken apart here: the page's rules let it connect to the platform alone.
      const blob = item.url.startsWith("data:") ? fromData(item.url) : await (await fetch(shown(item.url))).blob();
      return new File([blob], item.name);
    }));
    save(await zip(files), "results.zip");
  } finally {
    button.disabled = false;
  }
}

export function fromData(url) {
  const [, type, base64, data] = /^data:([^,;]*)[^,]*?(;base64)?,(.*)$/s.exec(url);
  const text = base64 ? atob(data) : decodeURIComponent(data);
  return new Blob([Uint8Array.from(text, (char) => char.charCodeAt(0))], { type });
}

export const duration = (seconds) => (seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`);
