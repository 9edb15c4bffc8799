// Photos and other files of a field: dropped, pasted, chosen, taken, or named by a URL. Several for an archive become
// one zip, made in a worker, and a zip that is there already is looked into.
import { PICTURES, contents, exampleBlob, firstPicture, inWorker, isArchive } from "./archives.mjs";
import { el, icon, iconButton, say } from "./dom.mjs";
import { upload } from "./fal.mjs";
import { bytes, shown } from "./media.mjs";
import { fileKind } from "./schema.mjs";
import { exampleFiles } from "./values.mjs";
import { names } from "./zip.mjs";

const ACCEPT = { image: "image/*", video: "video/*", audio: "audio/*", archive: "image/*,.zip,.tar,.tgz" };
const NOUNS = { image: "picture", video: "video", audio: "sound", file: "file", archive: "photos or a zip" };

export class FileField {
  constructor(field, id, context) {
    this.field = field;
    this.context = context;
    this.list = field.kind === "files";
    this.kind = this.list ? fileKind(field.name, field.schema.items, field.ui) : field.kind;
    const target = this.list ? field.schema.items : field.schema;
    this.asObject = Boolean(target.properties);
    this.several = this.list || this.kind === "archive";
    this.items = []; // {name, size, blob?, url?}: of an archive, what is in it
    this.value = undefined; // an archive's or a single file's URL
    this.turn = 0; // what was begun for earlier items is not waited for
    this.work = Promise.resolve();
    this.previews = new Map();
    this.build(id, field.frozen);
  }

  build(id, frozen) {
    const noun = NOUNS[this.kind];
    const changed = () => this.byHand();
    this.input = el(this.list ? "textarea" : "input", {
      id, class: "url", type: this.list ? null : "text", rows: this.list ? 1 : null, inputmode: "url", spellcheck: "false", autocomplete: "off", disabled: frozen,
      "aria-label": `${this.field.title}: ${this.list ? "URLs, one a line" : "URL"}`, placeholder: this.list ? "or URLs, one a line" : "or the URL of one", oninput: changed,
    });
    this.picker = el("input", { type: "file", class: "picker", id: `${id}-file`, multiple: this.several, accept: ACCEPT[this.kind], hidden: true, disabled: frozen, onchange: () => this.pick(this.picker) });
    this.camera = el("input", { type: "file", hidden: true, accept: "image/*", capture: "environment", disabled: frozen, onchange: () => this.pick(this.camera) });
    const choose = el("button", { type: "button", class: "choose", disabled: frozen, onclick: () => this.picker.click() }, icon(this.kind === "archive" ? "image" : this.kind), el("span", {}, el("b", {}, `Choose ${this.several && this.kind !== "archive" ? `${noun}s` : this.kind === "archive" ? noun : `a ${noun}`}`), el("span", { class: "or" }, ", drop or paste")));
    const take = ["image", "archive"].includes(this.kind) && el("button", { type: "button", class: "quiet small camera", disabled: frozen, onclick: () => this.camera.click() }, icon("camera"), "Take a photo");
    this.tiles = el("ul", { class: "tiles" });
    this.state = el("p", { class: "file-state", role: "status" });
    this.offers = el("div", { class: "offers" });
    this.drop = el("div", { class: "drop" }, this.tiles, el("div", { class: "drop-actions" }, choose, take), this.state);
    this.node = el("div", { class: "file-field" }, this.picker, this.camera, this.drop, this.input, this.offers);
    if (frozen) return;
    this.drop.addEventListener("dragover", (event) => { event.preventDefault(); this.drop.classList.add("over"); });
    this.drop.addEventListener("dragleave", (event) => { if (!this.drop.contains(event.relatedTarget)) this.drop.classList.remove("over"); });
    this.drop.addEventListener("drop", (event) => { event.preventDefault(); event.stopPropagation(); this.drop.classList.remove("over"); this.add([...event.dataTransfer.files]); });
    this.node.addEventListener("paste", (event) => {
      if (!event.clipboardData.files.length) return;
      event.preventDefault();
      event.stopPropagation();
      this.add([...event.clipboardData.files]);
    });
    this.offerExamples();
  }

  offerExamples() {
    const files = exampleFiles(this.kind, this.context.examples, this.list);
    if (!files.length) return;
    const chips = files.slice(0, 8).map((file) => {
      const title = file.file_name.replace(/\.[^.]+$/, "");
      const face = el("span", { class: "chip-face" }, icon(this.kind === "archive" ? "archive" : this.kind));
      firstPicture(file).then((url) => url && face.replaceChildren(el("img", { src: url, alt: "" }))).catch(() => {});
      return el("button", { type: "button", class: "chip", title: `Use the example ${file.file_name}`, onclick: () => this.useExample(file) }, face, title);
    });
    this.offers.append(el("span", { class: "offers-title" }, "Examples"), ...chips);
  }

  async useExample(file) {
    const blob = await exampleBlob(file);
    if (!this.list) this.items = [];
    const whole = new File([blob], file.file_name, { type: file.content_type });
    if (this.kind === "image" && isArchive(whole)) {
      const inside = (await contents(blob)).filter((item) => item.blob?.type.startsWith("image/"));
      this.items = [];
      this.add(inside.map((item) => new File([item.blob], item.name, { type: item.blob.type })));
    } else this.add([whole]);
    await this.settled();
  }

  /** Takes the first example that fits, for a whole example request; false where there is none. */
  example() {
    const [file] = exampleFiles(this.kind, this.context.examples, this.list);
    if (!file) return false;
    this.useExample(file);
    return true;
  }

  pick(input) {
    this.add([...input.files]);
    input.value = "";
  }

  /** Whether files of this kind belong here, when they were dropped or pasted anywhere on the page. */
  wants(files) {
    if (this.field.frozen) return false;
    if (this.kind === "archive") return files.some((file) => file.type.startsWith("image/") || isArchive(file));
    return files.some((file) => this.kind === "file" || file.type.startsWith(`${this.kind}/`));
  }

  add(files) {
    if (!files.length) return;
    const fresh = files.map((file) => ({ name: file.name || "photo.png", size: file.size, blob: file }));
    if (this.kind === "archive" && !this.list) {
      if (files.length === 1 && isArchive(files[0])) return this.begin(() => this.takeArchive(files[0]));
      this.items = [...this.items.filter((item) => item.blob), ...fresh];
      return this.begin(() => this.packAll());
    }
    if (this.list) this.items = [...this.items, ...fresh];
    else this.items = fresh.slice(0, 1);
    return this.begin(() => this.uploadEach());
  }

  remove(item) {
    this.items = this.items.filter((one) => one !== item);
    this.forgetPreview(item);
    if (this.kind === "archive" && !this.list && this.items.length) this.begin(() => this.packAll());
    else if (this.list) this.begin(() => this.uploadEach());
    else this.empty();
    this.node.querySelector("button.choose").focus();
  }

  empty() {
    this.turn++;
    this.items = [];
    this.value = undefined;
    this.input.value = "";
    this.say("");
    this.paint();
    this.context.changed();
  }

  // Runs one piece of work at a time; its outcome counts only if nothing newer was begun.
  begin(work) {
    const turn = ++this.turn;
    this.value = undefined;
    this.input.value = "";
    this.paint();
    this.work = this.work.then(async () => {
      if (turn !== this.turn) return;
      this.node.classList.add("busy");
      try {
        await work();
      } catch (error) {
        if (turn === this.turn) this.say(`Not uploaded: ${error.message}`, true);
      }
      if (turn !== this.turn) return;
      this.node.classList.remove("busy");
      this.paint();
      this.context.changed();
    });
    this.context.changed();
  }

  async takeArchive(file) {
    this.say(`Uploading ${bytes(file.size)}…`);
    this.items = await contents(file);
    this.archive = { name: file.name, size: file.size };
    this.paint();
    this.value = await upload(file, file.name);
    this.sayArchive();
  }

  async packAll() {
    const files = this.items.map((item) => item.blob);
    const total = this.items.reduce((sum, item) => sum + item.size, 0);
    this.say(`Packing ${bytes(total)}…`);
    const called = names(this.items);
    const packed = await inWorker(files.map((blob, index) => new File([blob], called[index])));
    this.archive = { name: "photos.zip", size: packed.size };
    this.say(`Uploading ${bytes(packed.size)}…`);
    this.value = await upload(packed, "photos.zip");
    this.sayArchive();
  }

  async uploadEach() {
    const fresh = this.items.filter((item) => !item.url);
    if (fresh.length) this.say(`Uploading ${bytes(fresh.reduce((sum, item) => sum + item.size, 0))}…`);
    for (const item of fresh) item.url = await upload(item.blob, item.name);
    if (!this.list) this.value = this.items[0]?.url;
    const size = this.items.reduce((sum, item) => sum + (item.size ?? 0), 0);
    this.say(this.items.length ? `${this.several ? `${this.items.length} · ` : `${this.items[0].name} · `}${bytes(size)}` : "");
  }

  sayArchive() {
    const count = this.items.length;
    this.say(`${count ? `${count} ${count === 1 ? "file" : "files"} · ` : ""}${bytes(this.archive.size)} as ${this.archive.name}`);
  }

  say(text, bad = false) {
    this.state.textContent = text;
    this.state.classList.toggle("error", bad);
    if (bad) say(text);
  }

  byHand() {
    this.turn++;
    this.say("");
    const text = this.input.value.trim();
    const kept = this.list ? this.items.filter((item) => item.blob || shown(item.url)) : [];
    this.items = this.list ? [...kept, ...text.split(/\s+/).filter(Boolean).map((url) => ({ url, typed: true, name: url }))] : [];
    if (this.list) this.items = this.items.filter((item, index) => !item.typed || this.items.findIndex((one) => one.url === item.url) === index);
    this.value = this.list ? undefined : text || undefined;
    this.paint(true);
    this.context.changed();
  }

  get() {
    const wrap = (url) => (this.asObject ? { url } : url);
    if (!this.list) return this.value === undefined ? undefined : wrap(this.value);
    const urls = this.items.map((item) => item.url).filter(Boolean);
    return urls.length || this.field.schema.default?.length ? urls.map(wrap) : undefined;
  }

  set(value) {
    this.turn++;
    const urls = (Array.isArray(value) ? value : [value]).map((one) => (typeof one === "object" ? one?.url : one)).filter((url) => typeof url === "string" && url);
    if (!this.list && urls[0] === this.value && this.value !== undefined) return;
    this.say("");
    this.node.classList.remove("busy");
    this.items = this.list ? urls.map((url) => ({ url, name: nameOf(url), typed: !shown(url) })) : [];
    this.value = this.list ? undefined : urls[0];
    this.input.value = this.list ? urls.filter((url) => !shown(url)).join("\n") : (urls[0] ?? "");
    this.paint();
    if (!this.list && urls[0] && shown(urls[0])) this.lookUp(urls[0]);
  }

  // What is behind a URL of this platform: after a reload, and for requests of the past.
  lookUp(url) {
    const turn = this.turn;
    this.work = this.work.then(async () => {
      if (turn !== this.turn) return;
      try {
        const response = await fetch(shown(url));
        if (turn !== this.turn) return;
        if (response.status === 404) {
          this.empty();
          this.say("The file is no longer on the platform. Add it again.", true);
          return;
        }
        const blob = await response.blob();
        this.items = this.kind === "archive" ? await contents(blob) : [{ name: nameOf(url), size: blob.size, url, blob }];
        if (turn !== this.turn) return;
        this.archive = { name: nameOf(url), size: blob.size };
        if (this.kind === "archive") this.sayArchive();
        else this.say(`${nameOf(url)} · ${bytes(blob.size)}`);
        this.paint();
      } catch {
        // No zip, or the platform does not answer: the URL alone is shown.
      }
    });
  }

  paint(typing = false) {
    this.tiles.replaceChildren(...this.items.filter((item) => !item.typed).map((item) => this.tile(item)));
    this.tiles.hidden = !this.tiles.hasChildNodes();
    this.drop.classList.toggle("filled", !this.tiles.hidden);
    const own = !this.list && this.value !== undefined && Boolean(shown(this.value)) && this.items.length > 0;
    if (!typing) this.input.hidden = own || this.field.frozen;
    if (!typing && !this.list) this.input.value = own ? "" : (this.value ?? "");
    this.offers.hidden = this.items.length > 0 && !this.list;
  }

  tile(item) {
    const picture = this.preview(item);
    const face = picture ? el("img", { src: picture, alt: "", loading: "lazy" }) : el("span", { class: "tile-name" }, icon(this.kind === "archive" ? "file" : this.kind), el("span", {}, item.name));
    const removable = !this.field.frozen && (this.list || this.kind !== "archive" || this.items.every((one) => one.blob));
    return el("li", { class: "tile", title: `${item.name}${item.size ? ` · ${bytes(item.size)}` : ""}` }, face, removable && iconButton("cross", `Remove ${item.name}`, () => this.remove(item)));
  }

  preview(item) {
    if (!PICTURES.test(item.name) && !item.blob?.type.startsWith("image/")) return undefined;
    if (!item.blob) return item.url && shown(item.url);
    if (!this.previews.has(item)) this.previews.set(item, URL.createObjectURL(item.blob));
    return this.previews.get(item);
  }

  forgetPreview(item) {
    if (this.previews.has(item)) URL.revokeObjectURL(this.previews.get(item));
    this.previews.delete(item);
  }

  busy() {
    return this.node.classList.contains("busy");
  }

  async settled() {
    for (let turn = -1; turn !== this.turn; ) {
      turn = this.turn;
      await this.work;
    }
  }
}


function nameOf(url) {
  if (url.startsWith("data:")) return "data";
  const last = url.split(/[?#]/)[0].split("/").at(-1) || "file";
  try {
    return decodeURIComponent(last);
  } catch {
    return last; // a percent sign of its own
  }
}
