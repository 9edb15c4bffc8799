// Elements by function calls: no markup from strings anywhere, so nothing that an app says can become markup.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (selector, root = document) => root.querySelector(selector);

/** An element; attributes named `on…` are listeners, `null`, `undefined` and `false` leave theirs out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const ICONS = {
  alert: "M12 4 2.8 20h18.4zM12 10v4.5M12 17.4v.1",
  archive: "M4 7.5h16V20H4zM3 4h18v3.5H3zM10 11.5h4",
  arrowLeft: "M19 12H5m6-6-6 6 6 6",
  arrowRight: "M5 12h14m-6-6 6 6-6 6",
  audio: "M9 18V6l10-2v12M9 18a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0zM19 16a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0z",
  auto: "M12 3.5a8.5 8.5 0 1 0 0 17zM12 3.5a8.5 8.5 0 0 1 0 17",
  camera: "M4 8h3.5l1.7-2.5h5.6L16.5 8H20v11H4zM12 16.5a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4z",
  check: "m5 12.5 4.5 4.5L19 7.5",
  clock: "M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17zM12 7.5V12l3 2",
  code: "m8.5 7-5 5 5 5m7-10 5 5-5 5",
  compare: "M12 3v18M4 6h5v12H4zM15 6h5v12h-5z",
  copy: "M8.5 8.5h11v11h-11zM15.5 8.5v-4h-11v11h4",
  cross: "m6 6 12 12M18 6 6 18",
  dice: "M4.5 4.5h15v15h-15zM8.8 8.8v.1m6.4-.1v.1M12 12v.1m-3.2 3.1v.1m6.4-.1v.1",
  download: "M12 4v11m-5-4.5 5 5 5-5M4.5 20h15",
  expand: "M14 4.5h5.5V10M19.5 4.5l-6 6M10 19.5H4.5V14m0 5.5 6-6",
  external: "M13.5 4.5h6v6m0-6-9 9M17 14v5.5H4.5V7H10",
  file: "M6 3.5h8l4.5 4.5v12.5H6zM13.5 3.5v5h5",
  image: "M4 5h16v14H4zM4 16l4.5-4.5 4 4 3-3L20 17M15.5 9.5v.1",
  minus: "M5 12h14",
  moon: "M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z",
  play: "M7.5 5v14l11-7z",
  plus: "M12 5v14M5 12h14",
  refresh: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3L20 9.5M20 4.5v5h-5",
  spark: "M12 3.5l2 6.5 6.5 2-6.5 2-2 6.5-2-6.5-6.5-2 6.5-2z",
  stop: "M7 7h10v10H7z",
  sun: "M12 16.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9zM12 2.5v1.5m0 16v1.5M2.5 12H4m16 0h1.5M5.3 5.3l1 1m11.4 11.4 1 1m0-13.4-1 1M6.3 17.7l-1 1",
  upload: "M12 16V5m-5 4.5 5-5 5 5M4.5 20h15",
  video: "M3.5 6.5h12v11h-12zM15.5 10.5l5-3v9l-5-3",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button with an icon alone; `label` is what it is called. */
export const iconButton = (name, label, onclick, attributes = {}) =>
  el("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...attributes }, icon(name));

/** Copies a text and says so on the button for a moment. */
export async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied.");
  } catch {
    say("Not copied: the browser does not allow it.");
    return;
  }
  button.classList.add("done");
  setTimeout(() => button.classList.remove("done"), 1400);
}

/** Says something to those who do not see the page. */
export function say(text) {
  $("#live").textContent = text;
}

/** Saves a blob or a URL of this platform as a file. */
export function save(source, name) {
  const url = typeof source === "string" ? source : URL.createObjectURL(source);
  el("a", { href: url, download: name }).click();
  if (typeof source !== "string") setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
