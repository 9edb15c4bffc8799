// Fields made of fields: a model in a model, a list, a choice between kinds.
import { el, icon, iconButton } from "./dom.mjs";
import { describe, fields, variantOf, variantTitle } from "./schema.mjs";
import { chosen } from "./values.mjs";

// `Control` is handed in: controls hold these, and these hold controls.

export class ObjectField {
  constructor(field, path, context, Control) {
    this.field = field;
    this.controls = fields(field.schema).map((inner) => new Control(inner, [...path, inner.name], context));
    this.node = el("div", { class: "nested" }, this.controls.map((control) => control.node));
  }

  get() {
    const list = this.controls.map((control) => control.field);
    const all = Object.fromEntries(this.controls.map((control) => [control.field.name, control.get()]).filter(([, value]) => value !== undefined));
    const own = chosen(list, (name) => all[name]);
    if (this.field.schema.default) return all;
    // A constant, such as a union's discriminator, is no choice of the caller's, and goes along with one.
    const constants = list.filter((field) => field.kind === "constant").map((field) => field.name);
    const picked = Object.keys(own).some((name) => !constants.includes(name));
    return picked || this.field.required ? { ...Object.fromEntries(constants.map((name) => [name, all[name]])), ...own } : undefined;
  }

  set(value) {
    for (const control of this.controls) control.set(value?.[control.field.name]);
  }

  show([name, ...rest], text) {
    return this.controls.find((control) => control.field.name === name)?.show(rest, text) ?? false;
  }

  clear() {
    this.controls.forEach((control) => control.clear());
  }

  problems() {
    return this.controls.flatMap((control) => control.problems().map((one) => ({ ...one, loc: [control.field.name, ...one.loc] })));
  }

  firstBad() {
    return firstBad(this.controls);
  }

  async settled() {
    await Promise.all(this.controls.map((control) => control.settled()));
  }
}

export class ListField {
  constructor(field, path, context, Control) {
    Object.assign(this, { field, path, context, Control });
    this.controls = [];
    this.list = el("ol", { class: "list" });
    this.add = el("button", { type: "button", class: "quiet small", disabled: field.frozen, onclick: () => this.append(undefined, true) }, icon("plus"), `Add to ${field.title.toLowerCase()}`);
    this.node = el("div", {}, this.list, this.add);
  }

  get() {
    const values = this.controls.map((control) => control.get() ?? (control.field.kind === "object" ? {} : undefined)).filter((value) => value !== undefined);
    return values.length || this.field.required || this.field.schema.default?.length ? values : undefined;
  }

  set(value) {
    this.list.replaceChildren();
    this.controls = [];
    for (const one of Array.isArray(value) ? value : []) this.append(one);
  }

  append(value, focus) {
    const number = this.controls.length;
    const inner = describe(this.field.name, { ...this.field.schema.items, title: `${this.field.schema.items.title ?? this.field.title} ${number + 1}` }, false);
    const control = new this.Control(inner, [...this.path, number], this.context);
    const scalar = ["text", "textarea", "number", "select", "slider", "switch"].includes(inner.kind);
    control.node.classList.toggle("bare", scalar);
    const item = el("li", { class: scalar ? "scalar" : null }, control.node, iconButton("cross", `Remove ${inner.title}`, () => this.remove(control, item), { disabled: this.field.frozen }));
    control.set(value);
    this.controls.push(control);
    this.list.append(item);
    if (!focus) return;
    control.focus();
    this.context.changed();
  }

  remove(control) {
    const rest = this.controls.filter((one) => one !== control).map((one) => one.get());
    this.set(rest);
    this.context.changed();
    this.add.focus();
  }

  show([index, ...rest], text) {
    return this.controls[index]?.show(rest, text) ?? false;
  }

  clear() {
    this.controls.forEach((control) => control.clear());
  }

  problems() {
    return this.controls.flatMap((control, index) => control.problems().map((one) => ({ ...one, loc: [index, ...one.loc] })));
  }

  firstBad() {
    return firstBad(this.controls);
  }

  async settled() {
    await Promise.all(this.controls.map((control) => control.settled()));
  }
}

export class VariantsField {
  constructor(field, path, context, Control) {
    this.field = field;
    const titles = field.schema.variants.map(variantTitle);
    this.controls = field.schema.variants.map((schema, index) => {
      const inner = describe(field.name, { ...schema, title: titles[index], default: undefined }, field.required);
      return new Control(inner, [...path, `kind${index}`], context);
    });
    this.controls.forEach((control) => control.node.classList.add("bare"));
    this.buttons = titles.map((title, index) =>
      el("button", { type: "button", class: "segment", disabled: field.frozen, onclick: () => { this.choose(index); context.changed(); } }, titles.indexOf(title) === index ? title : `${title} ${index + 1}`));
    // Presets first: most callers want one.
    const order = [...titles.keys()].sort((one, other) => Number(Boolean(field.schema.variants[other].enum)) - Number(Boolean(field.schema.variants[one].enum)));
    this.node = el("div", { class: "variants" }, el("div", { class: "segments" }, order.map((index) => this.buttons[index])), this.controls.map((control) => control.node));
    this.choose(0);
  }

  choose(index) {
    this.chosen = index;
    this.controls.forEach((control, at) => { control.node.hidden = at !== index; });
    this.buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === index)));
  }

  get() {
    return this.controls[this.chosen].get();
  }

  set(value) {
    const index = value === undefined || value === null ? this.presetFirst() : variantOf(this.field.schema.variants, value);
    this.controls.forEach((control, at) => control.set(at === index ? (value ?? undefined) : undefined));
    this.choose(index);
  }

  presetFirst() {
    return Math.max(0, this.field.schema.variants.findIndex((schema) => schema.enum));
  }

  // Pydantic names the variant in an error's place: `["image_size", "ImageSize", "width"]`.
  show(loc, text) {
    const control = this.controls[this.chosen];
    const named = this.field.schema.variants.some((schema) => loc[0] === schema.ref || loc[0] === schema.title || /[('[]|^(str|int|float|bool|list|dict)$/.test(String(loc[0])));
    return control.show(named ? loc.slice(1) : loc, text);
  }

  clear() {
    this.controls.forEach((control) => control.clear());
  }

  problems() {
    return this.controls[this.chosen].problems();
  }

  firstBad() {
    return this.controls[this.chosen].firstBad();
  }

  settled() {
    return this.controls[this.chosen].settled();
  }
}

export function firstBad(controls) {
  for (const control of controls) {
    const found = control.firstBad();
    if (found) return found;
  }
  return undefined;
}
