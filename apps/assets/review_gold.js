/* Page Review, for operators: make one rollout gold. Its answer is drawn here, and annotators are measured by it. */

import { announce, clear, el } from "./dom.js";

export class GoldForm {
  /** `made()` is called once an answer is known; `refused(node, answer)` shows an answer that is an error. */
  constructor(page, refused, made) {
    Object.assign(this, { page, refused, made, id: null });
    this.which = el("input", { class: "wovr-input", list: "wovr-unseen-rollouts", "aria-label": "rollout", placeholder: "run/stage/rollout, from the queue's head or from Inspect", size: "48" });
    this.options = el("datalist", { id: "wovr-unseen-rollouts" });
    this.stage = el("div");
    this.root = el("form", { class: "gold-one", onsubmit: (event) => { event.preventDefault(); this.open(this.which.value.trim()); } },
      el("h3", { text: "One rollout" }), el("p", { text: "Look at a rollout that nobody has met, mark what is wrong, or leave it unmarked where nothing is." }),
      el("div", { class: "wovr-acts" }, this.which, this.options, el("button", { type: "submit", class: "wovr-button", text: "Open" })), this.stage);
    this.load();
  }

  end() { this.scrubber?.end(); this.scrubber = null; }

  async load() {
    const answer = await this.page.ask({ op: "unseen" });
    if (this.refused(this.root, answer)) return;
    clear(this.options, answer.ids.map((id) => el("option", { value: id })));
    this.which.value ||= answer.ids[0] ?? "";
  }

  async open(id) {
    const answer = await this.page.ask({ op: "unseen", id });
    if (this.refused(this.root, answer)) return;
    this.end();
    this.id = id;
    const host = el("div", { class: "wovr-scrubber" });
    this.why = el("input", { class: "wovr-input why", "aria-label": "why this is the answer", maxlength: 2000, placeholder: "how you know" });
    clear(this.stage, host, el("div", { class: "wovr-acts" }, this.why, el("button", { type: "button", class: "wovr-button main", dataset: { do: "gold" }, text: "This is the answer", onclick: () => this.done() })));
    // A draft: its edits are acknowledged here and go nowhere before the answer is handed in.
    this.scrubber = this.page.scrubberOn(host, async (edit) => ({ kind: "ack", event: edit.event, ok: true, retry: false }));
    this.scrubber.feed({ ...answer.value, spans: [] });
    this.scrubber.now()?.focus();
    this.page.host.dataset.gold = id;
  }

  async done() {
    if (!this.why.value.trim()) { this.why.setAttribute("aria-invalid", "true"); this.why.focus(); return; }
    const spans = (this.scrubber.now()?.edits.spans ?? []).map(({ id, start, end, label, severity, note }) => ({ id, start, end, label, severity, note }));
    const answer = await this.page.ask({ op: "gold", id: this.id, spans, why: this.why.value.trim() });
    if (this.refused(this.root, answer)) return;
    this.end();
    announce("its answer is known now");
    this.made();
  }
}
