/* Saved filters of page Inspect: keep what the gallery shows under a name; apply, rename and delete it. */

import { announce, clear, el } from "./dom.js";

export class SavedFilters {
  /** `ask(message)` answers {filters: [{name, query}]} or {error}; `now()` is the gallery's query, `apply(query)` sets it. */
  constructor({ ask, now, apply }) {
    Object.assign(this, { ask, now, apply, filters: [], renaming: null });
    this.list = el("ul", { class: "saved" });
    this.why = el("p", { class: "wovr-error", role: "alert", hidden: true });
    this.name = el("input", { class: "wovr-input", type: "text", placeholder: "name this filter", "aria-label": "name for the present filter", maxlength: 60 });
    const form = el("form", { class: "save", onsubmit: (event) => { event.preventDefault(); this.save(); } }, this.name, el("button", { type: "submit", text: "Save" }));
    this.node = el("details", { "data-facet": "saved", open: true }, el("summary", {}, el("span", { text: "saved filters" })), this.list, form, this.why);
    this.send({ do: "list" });
  }

  async send(message) {
    let answer;
    try { answer = await this.ask(message); } catch { /* said below */ }
    if (!answer?.filters && !answer?.error) answer = { error: "The server cannot be reached." };
    this.why.hidden = !answer.error;
    this.why.textContent = answer.error ?? "";
    if (answer.filters) { this.filters = answer.filters; this.draw(); }
    return !answer.error;
  }

  async save() {
    const name = this.name.value;
    const { filters, text, flagged, order } = this.now();
    if (await this.send({ do: "save", name, query: { filters, text, flagged, order } })) { this.name.value = ""; announce(`Saved as ${name.trim()}`); }
  }

  /** Marks the one that the gallery shows now. */
  mark() {
    const key = (query) => JSON.stringify([Object.entries(query.filters).filter(([, values]) => values.length).map(([name, values]) => [name, [...values].sort()]).sort(), query.text.toLowerCase(), Boolean(query.flagged), query.order]);
    const here = key(this.now());
    for (const [i, button] of [...this.list.querySelectorAll("button.apply")].entries()) button.setAttribute("aria-pressed", String(key(this.filters[i].query) === here));
  }

  draw() {
    clear(this.list, this.filters.map((filter) => el("li", {}, this.renaming === filter.name ? this.renamer(filter) : [
      el("button", { type: "button", class: "apply", text: filter.name, title: `show ${filter.name}`, onclick: () => this.apply(filter.query) }),
      el("button", { type: "button", class: "plain", text: "✎", "aria-label": `rename ${filter.name}`, title: "rename", onclick: () => { this.renaming = filter.name; this.draw(); this.list.querySelector("input")?.focus(); } }),
      el("button", { type: "button", class: "plain", text: "✕", "aria-label": `delete ${filter.name}`, title: "delete", onclick: () => this.drop(filter) }),
    ])));
    this.list.hidden = !this.filters.length;
    if (!this.renaming) this.mark();
  }

  async drop(filter) {
    if (!(await this.send({ do: "delete", name: filter.name }))) return;
    announce(`${filter.name} deleted`);
    this.name.focus();
  }

  renamer(filter) {
    const input = el("input", { class: "wovr-input", type: "text", value: filter.name, "aria-label": `new name of ${filter.name}`, maxlength: 60,
      onkeydown: (event) => { if (event.key === "Escape") { event.preventDefault(); this.renaming = null; this.draw(); } } });
    const keep = async (event) => {
      event.preventDefault();
      this.renaming = null;
      if (!(await this.send({ do: "rename", name: filter.name, to: input.value }))) this.draw();
      this.list.querySelector("button.apply")?.focus();
    };
    return el("form", { class: "save", onsubmit: keep }, input, el("button", { type: "submit", text: "Rename" }));
  }
}
