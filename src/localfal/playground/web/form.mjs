// The form of one endpoint: main fields, additional settings, a draft that survives a reload.
import { $, el } from "./dom.mjs";
import { FileField } from "./files.mjs";
import { firstBad } from "./nested.mjs";
import { fields } from "./schema.mjs";
import { chosen, exampleValues } from "./values.mjs";
import { Control } from "./widgets.mjs";

const SAVE_MS = 250;

export class Form {
  constructor(endpoint, examples, onChange) {
    this.endpoint = endpoint;
    this.onChange = onChange;
    this.context = { examples, changed: () => this.changed() };
    this.controls = fields(endpoint.schema).map((field) => new Control(field, [field.name], this.context));
    const main = this.controls.filter((control) => control.field.main);
    const more = main.length ? this.controls.filter((control) => !control.field.main) : [];
    const nothing = el("p", { class: "empty-form" }, "This endpoint takes no input: press Run.");
    $("#main-fields").replaceChildren(...(this.controls.length ? (main.length ? main : this.controls).map((control) => control.node) : [nothing]));
    $("#more-fields").replaceChildren(...more.map((control) => control.node));
    $("#more").hidden = more.length === 0;
    $("#more-count").textContent = String(more.length);
    this.fill(this.draft() ?? {});
  }

  values() {
    const list = this.controls.map((control) => control.field);
    const all = Object.fromEntries(this.controls.map((control) => [control.field.name, control.get()]));
    return chosen(list, (name) => all[name]);
  }

  fill(values) {
    for (const control of this.controls) control.set(values[control.field.name]);
    this.changed();
  }

  set(name, value) {
    const control = this.control(name);
    control?.set(value);
    this.changed();
    return control;
  }

  control(name) {
    return this.controls.find((control) => control.field.name === name);
  }

  /** Fills in the example request; an example file stands for a URL that nobody here can fetch. */
  example() {
    const values = exampleValues(this.endpoint);
    this.fill(values);
    const files = this.controls.filter((control) => control.widget instanceof FileField && (control.field.required || control.field.name in values));
    const [first] = files; // of several optional ones, which may stand for each other, one is enough
    for (const control of files) {
      if (control.field.required || control === first) control.widget.example();
      else control.set(undefined);
    }
  }

  hasExample() {
    return Object.keys(exampleValues(this.endpoint)).length > 0;
  }

  /** Gives files that were dropped or pasted on the page to the first field that takes them. */
  take(files) {
    const takers = this.controls.filter((control) => control.widget instanceof FileField && control.widget.wants(files));
    const taker = takers.find((control) => control.field.main && control.widget.several) ?? takers.find((control) => control.get() === undefined) ?? takers[0];
    taker?.widget.add(files);
    taker?.node.scrollIntoView({ block: "nearest" });
    return Boolean(taker);
  }

  async settled() {
    await Promise.all(this.controls.map((control) => control.settled()));
  }

  problems() {
    return this.controls.flatMap((control) => control.problems().map((one) => ({ ...one, loc: ["body", control.field.name, ...one.loc] })));
  }

  /** Puts each message at its field; returns those that belong to no field. */
  show(detail) {
    this.controls.forEach((control) => control.clear());
    const rest = [];
    for (const one of detail) {
      const [where, ...path] = Array.isArray(one.loc) ? one.loc : [];
      const loc = this.endpoint.whole && where === "body" ? ["body", ...path] : path;
      const control = (where === "body" || where === "query") && this.control(loc[0]);
      if (!control || !control.show(loc.slice(1), String(one.msg))) rest.push(String(one.msg));
    }
    const first = firstBad(this.controls);
    if (first) {
      const folded = first.node.closest("details");
      if (folded) folded.open = true;
      first.focus();
      first.node.scrollIntoView({ block: "center" });
    }
    return rest;
  }

  clear() {
    this.controls.forEach((control) => control.clear());
  }

  changed() {
    if (!this.controls) return;
    this.onChange();
    clearTimeout(this.saving);
    this.saving = setTimeout(() => this.save(), SAVE_MS);
  }

  key() {
    return `localfal:draft:${this.endpoint.id}`;
  }

  save() {
    clearTimeout(this.saving);
    try {
      localStorage.setItem(this.key(), JSON.stringify(this.values()));
    } catch {
      localStorage.removeItem(this.key()); // more than a browser keeps, such as a data URI
    }
  }

  draft() {
    try {
      const values = JSON.parse(localStorage.getItem(this.key()));
      return values && typeof values === "object" ? values : undefined;
    } catch {
      return undefined;
    }
  }
}
