/* Page Review, for operators: decisions between annotators, everybody's quality, and the loop closed. */

import { announce, clear, el, plural } from "./dom.js";
import { GoldForm } from "./review_gold.js";

const GUTTER = 124, RIGHT = 14;  // of the scrubber's time axis, for what is drawn beside it
const COLOURS = ["#D55E00", "#E69F00", "#CC79A7", "#56B4E9", "#0072B2", "#009E73", "#8C8C8C", "#B22222", "#7B5EA7", "#A0833C"];
const percent = (x) => (x === null || x === undefined ? "–" : x.toFixed(2));

/** A note where an answer is an error; returns whether it was one. */
function refused(node, answer) {
  node.querySelector(":scope > .wovr-error")?.remove();
  if (answer.error) node.prepend(el("p", { class: "wovr-error", role: "alert", text: answer.error }));
  return Boolean(answer.error);
}

export class Disputes {
  constructor(page, host) {
    Object.assign(this, { page, host });
    this.list = el("nav", { class: "disputes", "aria-label": "disputed rollouts" });
    this.main = el("div", { class: "dispute" });
    clear(host, el("div", { class: "review-two" }, this.list, this.main));
    this.load();
  }

  end() { this.scrubber?.end(); }

  async load(open = true) {
    const answer = await this.page.ask({ op: "disputes" });
    if (refused(this.host, answer)) return;
    clear(this.list, el("h2", { text: "Disputed" }), answer.ids.map((id) => el("button", { type: "button", class: "entry", title: id, "aria-current": id === this.id ? "true" : null, text: id.split("/").at(-1), onclick: () => this.open(id) })));
    if (!answer.ids.length && !this.id) {
      clear(this.main, el("div", { class: "wovr-empty" }, el("h2", { text: "Nothing is disputed" }), el("p", { text: "Rollouts that two people labelled differently come here. You cannot decide about those that you labelled yourself." })));
      this.page.host.dataset.dispute = "none";
    } else if (open && answer.ids.length) this.open(answer.ids[0]);
  }

  async open(id) {
    const answer = await this.page.ask({ op: "dispute", id });
    if (refused(this.main, answer)) return;
    this.id = id;
    this.dispute = answer.dispute;
    this.scrubber?.end();
    const stage = el("div", { class: "wovr-scrubber" });
    this.lanes = el("div", { class: "lanes" });
    this.why = el("input", { class: "wovr-input why", "aria-label": "reason of the decision", maxlength: 2000, placeholder: "the reason of your decision" });
    this.decide = el("button", { type: "button", class: "wovr-button main", onclick: () => this.done() }, "Decide ", el("kbd", { text: "Enter" }));
    clear(this.main, this.lanes, el("div", { class: "wovr-acts" }, this.why, this.decide), el("p", { class: "hint", text: "The spans below are your decision: take a side with A or B, then change it like any span." }), stage);
    // A draft: its edits are acknowledged here and go nowhere before the decision is made.
    this.scrubber = this.page.scrubberOn(stage, async (edit) => { setTimeout(() => this.keep()); return { kind: "ack", event: edit.event, ok: true, retry: false }; });
    const spans = answer.dispute.decided ? answer.dispute.decided.spans.map((span, n) => ({ ...span, id: `d${n}`, version: 1 })) : this.kept();
    this.scrubber.feed({ ...answer.value, spans });
    this.drawLanes();
    for (const entry of this.list.querySelectorAll(".entry")) entry.toggleAttribute("aria-current", entry.title === id);
    this.page.host.dataset.dispute = id;
    this.scrubber.now()?.focus();
  }

  name() { return `wovr-decision:${this.id}`; }
  keep() { try { sessionStorage.setItem(this.name(), JSON.stringify(this.drawn())); } catch { /* a browser that keeps nothing */ } }
  kept() { try { return JSON.parse(sessionStorage.getItem(this.name()) ?? "[]").map((span) => ({ ...span, version: 1 })); } catch { return []; } }
  drawn() { return (this.scrubber.now()?.edits.spans ?? []).map(({ id, start, end, label, severity, note }) => ({ id, start, end, label, severity, note })); }

  drawLanes() {
    const titles = this.page.props.guideline.map((entry) => entry.title), keys = this.page.props.guideline.map((entry) => entry.key);
    const { frames, sides, decided } = this.dispute;
    const side = (one, n) => {
      const axis = el("div", { class: "axis" });
      for (const span of one.spans) {
        const slot = Math.max(0, keys.indexOf(span.label));
        const text = `${one.name}: ${titles[slot]}, frames ${span.start} to ${span.end}, severity ${span.severity}${span.note ? `: ${span.note}` : ""}`;
        const box = el("button", { type: "button", class: "span", title: text, "aria-label": text, text: String((slot + 1) % 10), onclick: () => this.scrubber.now()?.seek(span.start) });
        box.style.left = `${(100 * span.start) / frames}%`;
        box.style.width = `${(100 * (span.end - span.start + 1)) / frames}%`;
        box.style.background = COLOURS[slot];
        axis.append(box);
      }
      if (!one.spans.length) axis.append(el("span", { class: "none", text: "nothing is wrong" }));
      const take = decided ? null : el("button", { type: "button", class: "wovr-button plain take", title: `take ${one.name}'s spans`, onclick: () => this.take(n) }, "take ", n < 2 ? el("kbd", { text: "AB"[n] }) : null);
      const lane = el("div", { class: "lane" }, el("div", { class: "who" }, el("b", { text: one.name }), take), axis);
      return lane;
    };
    clear(this.lanes, sides.map(side), decided ? el("p", { class: "wovr-notice", text: `Decided by ${decided.by}: ${decided.why}` }) : null);
    this.lanes.style.setProperty("--gutter", `${GUTTER}px`);
    this.lanes.style.setProperty("--right", `${RIGHT}px`);
  }

  take(n) {
    const scrubber = this.scrubber.now(), side = this.dispute.sides[n];
    if (!side || !scrubber || this.dispute.decided) return;
    for (const span of [...scrubber.edits.spans]) scrubber.edits.remove(span.id);
    side.spans.forEach((span, k) => scrubber.edits.put({ ...span, id: `t${Date.now().toString(36)}-${k}`, version: 0 }));
    announce(`took ${side.name}'s spans`);
  }

  async done() {
    if (!this.why.value.trim()) { this.why.setAttribute("aria-invalid", "true"); this.why.focus(); return; }
    const answer = await this.page.ask({ op: "adjudicate", id: this.id, spans: this.drawn(), why: this.why.value.trim() });
    if (refused(this.main, answer)) return;
    try { sessionStorage.removeItem(this.name()); } catch { /* a browser that keeps nothing */ }
    this.dispute = answer.dispute;
    this.drawLanes();
    this.decide.disabled = true;
    announce("decided");
    this.load(false);
  }

  key(event, take) {
    const letter = event.key.toLowerCase();
    if (letter === "a") take(() => this.take(0));
    else if (letter === "b") take(() => this.take(1));
    else if (event.key === "Enter" && this.dispute && !this.dispute.decided && !(event.target instanceof HTMLButtonElement)) take(() => this.done());
  }
}

export class Quality {
  constructor(page, host) {
    Object.assign(this, { page, host });
    clear(host, el("div", { class: "wovr-loading", text: "measuring" }));
    this.load();
  }

  end() { this.form?.end(); }

  async load() {
    const found = await this.page.ask({ op: "quality" });
    if (found.error) { clear(this.host, el("p", { class: "wovr-error", text: found.error })); return; }
    const cell = (value, number = true) => el("td", { class: number ? "number" : null, text: value });
    const rate = ([k, n]) => (n ? `${k}/${n}` : "–");
    const kappa = ({ value, interval, items }) => (items ? `${percent(value)} [${percent(interval[0])}, ${percent(interval[1])}] n=${items}` : "–");
    const heads = [["annotator", "annotator"], ["items", "handed in"], ["skipped", "passed on"], ["items/h", "over the time between claim and hand-in"], ["gold", "known answers met"], ["gold F1", "mean F1 of the spans against known answers"],
      ["kappa", "Cohen's kappa on frames with whoever labelled the same items, 95 % interval"], ["IoU", "mean overlap of matched spans, unmatched ones counting 0"], ["overruled", "adjudicated items decided otherwise"]];
    const rows = found.annotators.map((one) => el("tr", {}, cell(one.annotator, false), cell(one.items), cell(one.skipped), cell(one.items_per_hour === null ? "–" : one.items_per_hour.toFixed(0)), cell(rate(one.gold)), cell(percent(one.gold_f1)),
      cell(kappa(one.agreement.kappa)), cell(percent(one.agreement.iou)), cell(rate(one.overruled))));
    const labels = Object.entries(found.by_label).map(([label, value]) => el("tr", {}, cell(label.replaceAll("_", " "), false), cell(kappa(value))));
    const share = el("input", { class: "wovr-input", type: "number", min: "1", max: "100", value: "10", "aria-label": "share of audited rollouts in percent" });
    const gold = el("div", { class: "wovr-card" }, el("h2", { text: "Known answers (gold)" }),
      el("p", { text: "Mixed into the queue unmarked. The audit knows whether a success was false or missed: a share of the audited rollouts that nobody has seen can measure annotators by that." }),
      el("div", { class: "wovr-acts" }, share, el("span", { text: "% of the audited rollouts" }), el("button", { type: "button", class: "wovr-button", text: "Make gold", onclick: async () => this.after(gold, await this.page.ask({ op: "gold", share: share.valueAsNumber / 100 })) })),
      found.gold.length ? el("table", { class: "wovr-table" }, el("tbody", {}, found.gold.map((one) => el("tr", {}, cell(one.id, false), cell(one.why, false), cell(`by ${one.by}`, false),
        el("td", {}, el("button", { type: "button", class: "wovr-button plain", text: "retire", onclick: async () => this.after(gold, await this.page.ask({ op: "retire", id: one.id, why: "retired on the Review page" })) })))))) : el("p", { text: "None yet." }));
    this.end();
    this.form = new GoldForm(this.page, refused, () => this.load());
    gold.append(this.form.root);
    clear(this.host, el("div", { class: "review-wide" },
      el("div", { class: "wovr-card" }, el("h2", { text: "Annotators" }), rows.length ? el("table", { class: "wovr-table quality" }, el("thead", {}, el("tr", {}, heads.map(([text, title], n) => el("th", { scope: "col", class: n ? "number" : null, title, text })))), el("tbody", {}, rows)) : el("p", { text: "Nobody has handed in anything yet." })),
      el("div", { class: "wovr-card" }, el("h2", { text: "Agreement by label" }), el("p", { text: `Over all: kappa ${kappa(found.agreement.kappa)}, IoU ${percent(found.agreement.iou)}. ${found.queue.open} open, ${found.queue.claimed} in somebody's hands, ${found.queue.done} done.` }),
        labels.length ? el("table", { class: "wovr-table" }, el("tbody", {}, labels)) : null), gold));
    this.page.host.dataset.quality = String(found.annotators.length);
  }

  after(node, answer) { if (!refused(node, answer)) { announce("done"); this.load(); } }
}

export class Corrections {
  constructor(page, host) {
    Object.assign(this, { page, host, run: new URLSearchParams(location.search).get("run") });
    this.top = el("div", { class: "wovr-acts" });
    this.body = el("div", { class: "review-wide" });
    this.again = el("div", { class: "again", hidden: true });
    clear(this.body, el("div", { class: "wovr-loading", text: "reading the run's flags and versions" }));
    clear(host, el("div", { class: "review-wide" }, this.top), this.body, this.again);
    this.load();
  }

  end() { this.over = true; clearTimeout(this.timer); this.scrubber?.end(); }

  async load() {
    if (!this.run) {
      const { runs = [], ...rest } = await this.page.ask({ op: "loop" });
      if (refused(this.body, rest)) return;
      this.run = this.page.item?.run && runs.includes(this.page.item.run) ? this.page.item.run : runs[0];
      if (!this.run) { clear(this.body, el("div", { class: "wovr-empty" }, el("h2", { text: "No run has audited rollouts yet" }), el("p", { text: "Make one:" }), el("pre", { text: "wovr demo" }))); return; }
    }
    const state = await this.page.ask({ op: "loop", run: this.run });
    if (this.over || refused(this.body, state)) return;
    this.state = state;
    this.draw();
    clearTimeout(this.timer);
    const moving = state.versions.some((one) => one.job && ["queued", "running"].includes(one.job.state));
    if (moving) this.timer = setTimeout(() => this.load(), 1500);
  }

  draw() {
    const { state } = this;
    const flags = Object.entries(state.flags), count = flags.reduce((sum, [, n]) => sum + n, 0);
    const run = el("select", { class: "wovr-select", "aria-label": "run", onchange: () => { this.run = run.value; this.load(); } }, state.runs.map((name) => el("option", { value: name, text: name })));
    run.value = state.run;
    const audit = el("input", { type: "checkbox", id: "wovr-with-audit" });
    clear(this.top, el("label", {}, "run ", run), el("span", { text: count ? `${plural(count, "flagged span")}: ${flags.map(([who, n]) => `${n} by ${who}`).join(", ")}` : "no span is flagged yet" }),
      el("label", { for: "wovr-with-audit" }, audit, " and what the audit found"),
      el("button", { type: "button", class: "wovr-button main", dataset: { do: "correct" }, text: "Make a correction version", onclick: () => this.act({ op: "correct", audit: audit.checked }) }));
    clear(this.body, el("p", { class: "hint", text: "A version holds reward labels, masks of the policy's loss and weighted samples of the world model; nothing is changed in place. Training with it refines world model and reward once more; both are kept beside the old ones." }),
      state.versions.length ? state.versions.map((one) => this.version(one)) : el("p", { text: "This run has no correction version yet." }));
    this.page.host.dataset.versions = String(state.versions.length);
  }

  version(one) {
    const { counts, job, refined } = one;
    const told = Object.entries(counts).filter(([, n]) => n).map(([what, n]) => `${what.replaceAll("_", " ")}: ${n}`).join(" · ");
    const state = refined ? "trained" : job ? job.state : "not trained";
    const tone = { trained: "good", failed: "bad", lost: "bad", running: "accent" }[state] ?? "";
    const card = el("div", { class: "wovr-card version", dataset: { version: one.version, state } }, el("h2", {}, el("code", { text: one.version }), " ", el("span", { class: `wovr-chip ${tone}`, text: state })), el("p", { text: told }));
    if (job && !refined) card.append(el("p", { text: job.reason || "" }), el("pre", { class: "log", text: job.log.join("\n") || "waiting for its first line" }));
    if (refined) {
      const moved = Object.keys(refined.before).map((name) => `${name.replaceAll("_", " ")} ${refined.before[name].toFixed(3)} → ${refined.after[name].toFixed(3)}`).join(", ");
      card.append(el("p", { text: `On held-out episodes: ${moved}. ${refined.world_model_promoted ? "The new world model is better and would take over." : "The new world model is not better on them, so it would not take over; it is shown all the same."}` }),
        el("div", { class: "wovr-acts" }, el("span", { text: "Imagine again:" }), one.rollouts.slice(0, 12).map((name) => el("button", { type: "button", class: "wovr-button", dataset: { again: name }, text: name, onclick: () => this.compare(one.version, name) }))));
    } else if (!job || ["failed", "cancelled", "lost"].includes(job.state)) {
      card.append(el("div", { class: "wovr-acts" }, el("button", { type: "button", class: "wovr-button main", dataset: { do: "retrain" }, text: job ? "Try again" : "Train with it", onclick: () => this.act({ op: "retrain", version: one.version }) })));
    }
    return card;
  }

  async act(message) {
    const answer = await this.page.ask({ run: this.run, ...message });
    if (refused(this.top, answer)) return;
    this.load();
  }

  async compare(version, rollout) {
    clear(this.again, el("div", { class: "wovr-loading", text: `imagining ${rollout} again` }));
    this.again.hidden = false;
    const answer = await this.page.ask({ op: "again", run: this.run, version, rollout });
    clear(this.again);
    if (refused(this.again, answer)) return;
    const stage = el("div", { class: "wovr-scrubber" });
    this.again.append(stage);
    this.scrubber?.end();
    this.scrubber = this.page.scrubberOn(stage, async (edit) => ({ kind: "ack", event: edit.event, ok: false, retry: false, error: "a comparison is open for reading only", version: 0 }));
    this.scrubber.feed(answer.value);
    this.page.host.dataset.again = rollout;
    stage.scrollIntoView({ block: "start" });
    this.scrubber.now()?.focus();
  }
}
