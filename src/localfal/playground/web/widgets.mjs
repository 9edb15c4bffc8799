// One control for one field: its label, its input, its hint, its error.
import { el, icon, iconButton } from "./dom.mjs";
import { FileField } from "./files.mjs";
import { ListField, ObjectField, VariantsField } from "./nested.mjs";
import { FILE_KINDS, bounds } from "./schema.mjs";

const GROUPS = ["checks", "list", "object", "variants", "files", ...FILE_KINDS];

/**
 * A field's control: `node`; `get()` (undefined where nothing is chosen) and `set(value)`; `show(loc, text)` puts an
 * error at the field or deeper; `problems()` are what the page itself finds; `settled()` waits for uploads.
 */
export class Control {
  constructor(field, path, context) {
    this.field = field;
    this.id = ["field", ...path].join("-").replaceAll(/[^\w-]/g, "_");
    const changed = () => {
      this.clear();
      context.changed();
    };
    const inner = { ...context, changed };
    this.widget = build(field, this.id, path, inner);
    this.error = el("p", { class: "error", id: `${this.id}-error` });
    const group = GROUPS.includes(field.kind);
    const label = el(group ? "span" : "label", { class: "label", id: `${this.id}-label`, for: group ? null : this.id }, field.title, field.required && el("span", { class: "required", title: "required" }, " *"), field.frozen && el("span", { class: "tag" }, "API only"));
    const name = typeof path.at(-1) === "string" && el("code", { class: "name", "aria-hidden": "true" }, field.name);
    const hint = field.hint && el("p", { class: "hint", id: `${this.id}-hint` }, marked(field.hint));
    const role = group ? { role: "group", "aria-labelledby": `${this.id}-label`, "aria-describedby": this.describedBy() } : {};
    this.node = el("div", { class: `field field-${field.kind}`, hidden: field.kind === "constant", ...role }, el("div", { class: "label-row" }, label, name), this.widget.node, hint, this.error);
  }

  describedBy() {
    return [this.field.hint && `${this.id}-hint`, `${this.id}-error`].filter(Boolean).join(" ");
  }

  get() {
    return this.widget.get();
  }

  set(value) {
    this.clear();
    this.widget.set(value ?? this.field.schema.default);
  }

  show(loc, text) {
    if (loc.length && this.widget.show?.(loc, text)) return true;
    // An index without a control of its own is said in words.
    const where = loc.length ? `${loc.map((part) => (typeof part === "number" ? part + 1 : part)).join(" › ")}: ` : "";
    const line = where + text;
    this.error.replaceChildren(icon("alert"), el("span", {}, this.error.textContent ? `${this.error.textContent}\n${line}` : line));
    this.mark(true);
    return true;
  }

  clear() {
    if (this.error.hasChildNodes()) this.error.replaceChildren();
    this.mark(false);
    this.widget.clear?.();
  }

  mark(bad) {
    this.node.classList.toggle("bad", bad);
    const input = this.widget.input;
    if (input) bad ? input.setAttribute("aria-invalid", "true") : input.removeAttribute("aria-invalid");
  }

  problems() {
    const value = this.get();
    if (this.widget.unreadable?.()) return [{ loc: [], msg: this.widget.unreadable() }];
    if (this.field.required && value === undefined && !this.widget.busy?.()) return [{ loc: [], msg: "This field is required." }];
    return value === undefined ? [] : (this.widget.problems?.() ?? []);
  }

  /** Where the first error is: the control whose input is to be focused. */
  firstBad() {
    if (this.error.hasChildNodes()) return this;
    return this.widget.firstBad?.();
  }

  focus() {
    (this.widget.input ?? this.node.querySelector("input, button, textarea, select"))?.focus();
  }

  async settled() {
    await this.widget.settled?.();
  }
}

// Names in backticks, as descriptions have them, are code.
const marked = (text) => text.split(/`([^`]+)`/).map((part, index) => (index % 2 ? el("code", {}, part) : part));

// What stands for "nothing": null where that differs from the default, else the field is left out.
const nothing = ({ schema }) => (schema.nullable && schema.default !== undefined && schema.default !== null ? null : undefined);

function build(field, id, path, context) {
  const { kind, schema, frozen, required } = field;
  const hinted = [field.hint && `${id}-hint`, `${id}-error`].filter(Boolean).join(" ");
  const common = { id, disabled: frozen, "aria-describedby": hinted, "aria-required": required ? "true" : null, oninput: context.changed };
  const example = schema.examples?.[0];
  if (kind === "text" || kind === "textarea") return text(field, common, example);
  if (kind === "constant") return { node: el("span", {}), get: () => schema.enum[0], set: () => {} };
  if (kind === "select") return select(field, common);
  if (kind === "switch") return toggle(common, field);
  if (kind === "checks") return checks(field, context);
  if (kind === "number") return number(field, common, example);
  if (kind === "slider") return slider(field, common, context);
  if (kind === "seed") return seed(field, common, context);
  if (kind === "files" || FILE_KINDS.includes(kind)) return new FileField(field, id, context);
  if (kind === "object") return new ObjectField(field, path, context, Control);
  if (kind === "list") return new ListField(field, path, context, Control);
  if (kind === "variants") return new VariantsField(field, path, context, Control);
  return json(field, common, example);
}

function text(field, common, example) {
  const { schema, required, kind } = field;
  const limits = { maxlength: schema.maxLength, placeholder: typeof example === "string" ? example : null };
  const input = el(kind === "textarea" ? "textarea" : "input", { ...common, ...limits, spellcheck: kind === "textarea" ? "true" : "false", autocomplete: "off", rows: kind === "textarea" ? 3 : null, type: kind === "textarea" ? null : "text" });
  const get = () => (input.value !== "" ? input.value : required || schema.default === undefined || schema.default === null ? undefined : schema.nullable ? null : "");
  return { node: input, input, get, set: (value) => { input.value = value ?? ""; } };
}

function select(field, common) {
  const { schema, required } = field;
  const options = schema.enum;
  const empty = required && schema.default === undefined && options.length > 1 ? "Choose…" : schema.nullable || (!required && schema.default === undefined) ? "—" : null;
  const input = el("select", common, empty && el("option", { value: "" }, empty), options.map((value, index) => el("option", { value: index }, String(value))));
  return {
    node: el("div", { class: "select" }, input),
    input,
    get: () => (input.value === "" ? nothing(field) : options[Number(input.value)]),
    set: (value) => {
      const index = options.indexOf(value);
      input.value = index >= 0 ? String(index) : empty ? "" : "0";
    },
  };
}

function toggle(common, field) {
  const input = el("input", { ...common, type: "checkbox", role: "switch", class: "switch" });
  let touched = false;
  input.addEventListener("input", () => { touched = true; });
  const unset = field.schema.nullable && (field.schema.default === null || field.schema.default === undefined);
  return {
    node: input,
    input,
    get: () => (unset && !touched ? undefined : input.checked),
    set: (value) => { input.checked = Boolean(value); touched = typeof value === "boolean"; },
  };
}

function checks(field, context) {
  const options = field.schema.items.enum;
  const boxes = options.map(() => el("input", { type: "checkbox", disabled: field.frozen, oninput: context.changed }));
  const node = el("div", { class: "checks" }, boxes.map((box, index) => el("label", { class: "check" }, box, el("span", {}, String(options[index])))));
  const get = () => {
    const values = options.filter((_, index) => boxes[index].checked);
    return values.length || field.schema.default?.length ? values : undefined;
  };
  return { node, input: boxes[0], get, set: (value) => boxes.forEach((box, index) => { box.checked = (value ?? []).includes(options[index]); }) };
}

function numberInput(field, common, placeholder) {
  const { min, max, step } = bounds(field.schema);
  const input = el("input", { ...common, type: "number", min, max, step: step ?? "any", placeholder, inputmode: step === 1 && min >= 0 ? "numeric" : null, autocomplete: "off" });
  return {
    input,
    get: () => (input.value === "" ? nothing(field) : exactly(input.value)),
    // What is out of range the app answers in its own words; what is no number cannot be sent.
    unreadable: () => (input.validity.badInput ? "This is not a number." : undefined),
  };
}

// Digits that JavaScript cannot count exactly are sent as they are: an app reads a number off them.
const exactly = (text) => (/^-?\d+$/.test(text) && !Number.isSafeInteger(Number(text)) ? text : Number(text));

function number(field, common, example) {
  const inner = numberInput(field, common, example);
  return { ...inner, node: inner.input, set: (value) => { inner.input.value = value ?? ""; } };
}

function slider(field, common, context) {
  const inner = numberInput(field, common);
  const { min, max, step } = bounds(field.schema);
  const range = el("input", { type: "range", min, max, step: step ?? nice((max - min) / 100), disabled: field.frozen, "aria-label": `${field.title}, as a slider`, tabindex: "-1" });
  const paint = () => {
    const value = inner.input.value === "" ? min : Number(inner.input.value);
    range.value = String(value);
    range.style.setProperty("--share", `${(100 * (Math.min(max, Math.max(min, value)) - min)) / (max - min || 1)}%`);
  };
  range.addEventListener("input", () => {
    inner.input.value = String(Number(Number(range.value).toFixed(6)));
    paint();
    context.changed();
  });
  inner.input.addEventListener("input", paint);
  return { ...inner, node: el("div", { class: "row" }, range, inner.input), set: (value) => { inner.input.value = value ?? ""; paint(); } };
}

/** The largest of 1, 2 and 5 times a power of ten that is not above a number. */
export function nice(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return Number(([5, 2, 1].find((one) => one * power <= most) * power).toPrecision(2));
}

function seed(field, common, context) {
  const { max } = bounds(field.schema);
  const inner = numberInput(field, common, "random");
  const put = (value) => {
    inner.input.value = value;
    context.changed();
    inner.input.focus();
  };
  const draw = () => put(String(crypto.getRandomValues(new Uint32Array(1))[0] % Math.min(2 ** 31, (max ?? 2 ** 31 - 1) + 1)));
  const dice = iconButton("dice", `Draw a ${field.title.toLowerCase()}`, draw, { disabled: field.frozen });
  const clear = iconButton("cross", `Leave the ${field.title.toLowerCase()} to chance`, () => put(""), { disabled: field.frozen });
  return { ...inner, node: el("div", { class: "row" }, inner.input, dice, clear), set: (value) => { inner.input.value = value ?? ""; } };
}

function json(field, common, example) {
  const { schema } = field;
  const shape = example ?? schema.default ?? (schema.type === "array" ? [] : {});
  const input = el("textarea", { ...common, class: "json", spellcheck: "false", rows: 3, placeholder: JSON.stringify(shape) });
  const read = () => {
    if (!input.value.trim()) return { value: undefined };
    try {
      return { value: JSON.parse(input.value) };
    } catch (error) {
      return { unreadable: `This is not JSON: ${error.message}` };
    }
  };
  return { node: input, input, get: () => read().value, unreadable: () => read().unreadable, set: (value) => { input.value = value === undefined ? "" : JSON.stringify(value, null, 2); } };
}
