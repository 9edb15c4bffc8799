// The current input as a program, in the language that was last chosen.
import { $, copy, el } from "./dom.mjs";
import { coloured } from "./result.mjs";
import { LANGUAGES } from "./snippets.mjs";

export class Code {
  constructor() {
    this.language = localStorage.getItem("localfal:language");
    if (!(this.language in LANGUAGES)) this.language = "python";
    this.text = "";
    this.tabs = Object.entries(LANGUAGES).map(([name, { title }]) => el("button", { type: "button", class: "segment", "data-language": name, onclick: () => this.choose(name) }, title));
    $("#languages").append(...this.tabs);
    $("#copy-code").addEventListener("click", (event) => copy(this.text, event.currentTarget));
  }

  choose(name) {
    this.language = name;
    localStorage.setItem("localfal:language", name);
    this.show(this.endpoint, this.values);
  }

  show(endpoint, values) {
    Object.assign(this, { endpoint, values });
    for (const tab of this.tabs) tab.setAttribute("aria-pressed", String(tab.dataset.language === this.language));
    if (!endpoint) return;
    this.text = LANGUAGES[this.language].write(endpoint, values);
    $("#snippet").replaceChildren(...coloured(this.text.replace(/\n$/, ""), this.language));
  }
}
