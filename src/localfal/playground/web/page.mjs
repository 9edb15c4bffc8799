// The page: which endpoint, its form, its result, its requests, its code.
import { $, el, icon, say } from "./dom.mjs";
import { Code } from "./code.mjs";
import * as fal from "./fal.mjs";
import { Form } from "./form.mjs";
import { History } from "./history.mjs";
import { ResultPanel } from "./result.mjs";
import { Runs } from "./runs.mjs";
import { endpoints } from "./schema.mjs";
import { asValues } from "./values.mjs";

const SETTING_UP_MS = 1000;
const WIDE = matchMedia("(min-width: 100rem)");
const NARROW = matchMedia("(max-width: 60rem)");

const emptyExample = $("#empty-example"); // leaves the page with the empty state, and comes back with it

let all = [];
let endpoint;
let form;
let examples = [];

const code = new Code();
const panel = new ResultPanel({
  hasSeed: () => Boolean(form?.control("seed")),
  onSeed: (seed) => { form.set("seed", seed)?.focus(); say("The seed is in the form."); },
});
const history = new History({ onOpen: open, onOffline: offline });
const runs = new Runs(panel, { onChange: () => history.refresh(), onErrors: (detail) => form.show(detail), onOffline: offline });

// Where the page is, so that a reload comes back to it.
const place = () => new URLSearchParams(location.hash.slice(1));
function goTo(changes) {
  const now = place();
  for (const [name, value] of Object.entries(changes)) {
    if (value) now.set(name, value);
    else now.delete(name);
  }
  window.history.replaceState(null, "", `#${now}`);
}

async function start() {
  const models = await untilThere();
  examples = await fal.examples().catch(() => []);
  all = endpoints(models);
  fillSelectors();
  choose(all.find((one) => one.id === place().get("endpoint")) ?? all[0]);
  document.body.dataset.ready = "true";
  history.refresh();
  const id = place().get("request");
  const request = id && (await fal.request(id).catch(() => undefined));
  if (request) show(request, false);
}

/** The endpoints, once a runner is ready. */
async function untilThere() {
  for (;;) {
    try {
      const models = await fal.models();
      offline(false);
      if (models.length) return models;
    } catch (error) {
      if (!fal.isOffline(error)) throw error;
      offline(true);
    }
    await new Promise((done) => setTimeout(done, SETTING_UP_MS));
  }
}

function fillSelectors() {
  const apps = [...new Set(all.map((one) => one.app))];
  const appSelect = $("#app-select");
  appSelect.replaceChildren(...apps.map((app) => el("option", { value: app }, app)));
  $("#app-choice").hidden = apps.length < 2;
  appSelect.addEventListener("change", () => choose(all.find((one) => one.app === appSelect.value), true));
  $("#endpoint-select").addEventListener("change", (event) => choose(all.find((one) => one.id === event.target.value), true));
}

function choose(one, byHand = false) {
  if (one === endpoint) return;
  endpoint = one;
  const siblings = all.filter((other) => other.app === one.app);
  $("#app-select").value = one.app;
  $("#endpoint-select").replaceChildren(...siblings.map((other) => el("option", { value: other.id }, other.path)));
  $("#endpoint-select").value = one.id;
  $("#endpoint-choice").hidden = siblings.length < 2;
  $("#title").textContent = one.title;
  $("#endpoint-id").textContent = one.id;
  $("#summary").textContent = one.summary.split(/\n\s*\n/)[0];
  document.title = `${one.title} · playground`;
  form = new Form(one, examples, () => code.show(endpoint, form?.values() ?? {}));
  code.show(one, form.values());
  $("#example").hidden = !form.hasExample();
  emptyExample.hidden = !form.hasExample();
  goTo({ endpoint: one.id });
  if (!byHand) return;
  runs.leave();
  panel.idle();
  history.mark(undefined);
  goTo({ request: undefined });
}

async function run() {
  if (!form) return;
  form.clear();
  const problems = form.problems();
  if (problems.length) {
    form.show(problems);
    return;
  }
  const button = $("#run");
  button.disabled = true;
  try {
    runs.leave();
    panel.begin("Uploading");
    select("result");
    await form.settled();
    const late = form.problems(); // an upload may have failed
    if (late.length) {
      panel.idle();
      form.show(late);
      return;
    }
    if (NARROW.matches) $("#panel").scrollIntoView({ block: "start", behavior: "smooth" });
    const sent = runs.submit(endpoint, form.values());
    button.disabled = false;
    const id = await sent;
    history.mark(id);
    goTo({ request: id });
  } catch (error) {
    offline(fal.isOffline(error));
    runs.fail(undefined, fal.isOffline(error) ? new Error("The platform does not answer. Is localfal still running?") : error);
  } finally {
    button.disabled = false;
  }
}

/** A request of the past, or one under way: shown, and its input back in the form. */
function open(request) {
  show(request);
  if (NARROW.matches) $("#panel").scrollIntoView({ block: "start" });
}

function show(request, fill = true) {
  const of = all.find((one) => one.id === request.endpoint_id);
  let values;
  if (of) {
    choose(of);
    if (request.json_input !== null || request.query) {
      values = asValues(of, request.json_input, request.query);
      if (fill) form.fill(values); // after a reload the form has what was typed since
    }
  }
  select("result");
  history.mark(request.request_id);
  goTo({ request: request.request_id, endpoint: of?.id });
  const app = of?.app ?? request.endpoint_id.split("/").slice(0, 2).join("/");
  runs.watch({ id: request.request_id, endpoint: of ?? { app }, values, since: Date.parse(request.sent_at) });
}

function offline(is) {
  const banner = $("#offline");
  if (banner.hidden !== is) return;
  banner.hidden = !is;
  if (!is) history.refresh();
}

// The panel's tabs. On a wide screen the requests stand beside it, and have none.
const TABS = ["result", "code", "requests"];
function select(name) {
  const wide = WIDE.matches;
  const shownTab = wide && name === "requests" ? "result" : name;
  for (const one of TABS) {
    const tab = $(`#tab-${one}`);
    const here = one === shownTab;
    tab.setAttribute("aria-selected", String(here));
    tab.tabIndex = here ? 0 : -1;
    $(`#panel-${one}`).hidden = !here && !(wide && one === "requests");
  }
  $("#tab-requests").hidden = wide;
  const panelOfRequests = $("#panel-requests");
  panelOfRequests.setAttribute("role", wide ? "region" : "tabpanel");
  panelOfRequests.setAttribute("aria-labelledby", wide ? "requests-title" : "tab-requests");
}

function setUpTabs() {
  for (const name of TABS) $(`#tab-${name}`).addEventListener("click", () => select(name));
  $("#tabs").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const names = TABS.filter((name) => !$(`#tab-${name}`).hidden);
    const now = names.findIndex((name) => $(`#tab-${name}`).getAttribute("aria-selected") === "true");
    const next = names.at((now + step) % names.length);
    select(next);
    $(`#tab-${next}`).focus();
  });
  WIDE.addEventListener("change", () => select(TABS.find((name) => $(`#tab-${name}`).getAttribute("aria-selected") === "true") ?? "result"));
  select("result");
}

// Light, dark, or as the system is.
const THEMES = { auto: ["auto", "as the system"], light: ["sun", "light"], dark: ["moon", "dark"] };
function setUpTheme() {
  const button = $("#theme");
  const paint = () => {
    const now = document.documentElement.dataset.theme ?? "auto";
    const [name, words] = THEMES[now];
    button.replaceChildren(icon(name));
    button.setAttribute("aria-label", `Colours: ${words}. Change`);
    button.title = `Colours: ${words}`;
  };
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES);
    const next = names[(names.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % names.length];
    if (next === "auto") {
      delete document.documentElement.dataset.theme;
      localStorage.removeItem("localfal:theme");
    } else {
      document.documentElement.dataset.theme = next;
      localStorage.setItem("localfal:theme", next);
    }
    paint();
  });
  paint();
}

// Files that are dropped or pasted next to a field find theirs.
function setUpFiles() {
  document.addEventListener("dragover", (event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault(); // or the browser would open the file in place of the page
    form?.take([...event.dataTransfer.files]);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length && form?.take([...event.clipboardData.files])) event.preventDefault();
  });
}

$("#form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  if (!$("#viewer").open) run();
});
window.addEventListener("pagehide", () => form?.save()); // what was typed a moment ago
$("#reset").addEventListener("click", () => { form?.fill({}); say("The form is empty."); });
for (const button of [$("#example"), emptyExample]) button.addEventListener("click", () => form?.example());
$("#cancel").addEventListener("click", () => runs.cancel());
$("#more").open = localStorage.getItem("localfal:more") === "open";
$("#more").addEventListener("toggle", () => localStorage.setItem("localfal:more", $("#more").open ? "open" : "closed"));

for (const node of document.querySelectorAll("[data-icon]")) node.prepend(icon(node.dataset.icon));
setUpTabs();
setUpTheme();
setUpFiles();
start().catch((error) => panel.failed("The page cannot start", [error.message], false));
