/* Page Review: claim, look, flag, hand in, next; without the mouse.
 *
 * One function asks Python (`ask`, answers in apps/pages/review.py). The scrubber is mounted here, on the page's own
 * element, and its edits go the same way. While the server is away everything stays as it is on the screen: spans
 * wait in the scrubber, and whatever was asked is asked again until it is answered.
 */

import { announce, clear, el } from "./dom.js";
import { Corrections, Disputes, Quality } from "./review_more.js";

const VIEWS = [["label", "Label", false], ["disputes", "Disputes", true], ["quality", "Quality", true], ["loop", "Corrections", true]];
const KEYS = [
  ["I, O", "first and last frame of a span"], ["1 … 9, 0", "its label"], ["Shift+1, 2, 3", "its severity"], ["M", "its note (Esc leaves the field)"],
  ["J, K", "next, previous span"], ["Delete, Ctrl+Z", "delete, undo"], ["← →, Shift+← →", "one frame, one chunk"], ["D", "to the first divergent frame"],
  ["Space", "play, pause"], ["Enter", "hand in, open the next"], ["S", "skip, with a reason"], ["Esc", "let go of the span; then give the item back"], ["?", "this guideline"],
];
const SLOWEST = 1000;
const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

export function mount({ element, props, ask }) {
  const host = element.querySelector(".wovr-review") ?? element;
  host.wovrReview?.close();
  const page = new Review(host, props, ask);
  host.wovrReview = page;
  return page;
}

class Review {
  constructor(host, props, ask) {
    Object.assign(this, { host, props, send: ask, item: null, me: null, busy: false, away: 0, ending: new AbortController(), stats: { opened: 0, handed: 0, outage: null } });
    this.build();
    this.start();
  }

  close() { this.ending.abort(); clearTimeout(this.renewing); this.scrubberEnd?.(); }

  // -- asking

  /** Asks until there is an answer. `{error}` is an answer; silence is not. `patient: false` gives up at once. */
  async ask(message, { patient = true } = {}) {
    for (let pause = 250; ; pause = Math.min(SLOWEST, pause * 2)) {
      try {
        const answer = await this.send(message);
        if (!answer || typeof answer !== "object") throw new Error("no answer");
        this.reached();
        return answer;
      } catch (error) {
        this.unreachable();
        if (!patient || this.ending.signal.aborted) throw error;
        await wait(pause);
      }
    }
  }

  unreachable() {
    if (!this.away) {
      this.away = performance.now();
      this.host.dataset.connection = "lost";
      this.warn("The server cannot be reached. Your spans are kept here and sent as soon as it is back; leave this tab open.", "away");
      announce("The server cannot be reached", true);
    }
  }

  reached() {
    if (!this.away) return;
    this.stats.outage = performance.now() - this.away;
    this.away = 0;
    this.host.dataset.connection = "there";
    this.calm("away");
    announce("The server is back");
    this.scrubber()?.edits.pump();
    if (this.item) this.renew();
  }

  // -- the page around it

  build() {
    const ui = (this.ui = {});
    ui.tabs = el("div", { class: "tabs", role: "tablist", "aria-label": "what to do" });
    ui.progress = el("div", { class: "counts", role: "status", "aria-label": "progress" });
    ui.claim = el("span", { class: "claim" });
    ui.help = el("button", { type: "button", class: "wovr-button", title: "how to label (?)", onclick: () => this.guide() }, "Guideline ", el("kbd", { text: "?" }));
    ui.top = el("header", { class: "review-top" }, el("h1", { text: "Review" }), ui.tabs, el("span", { class: "gap" }), ui.claim, ui.progress, ui.help);
    ui.notes = el("div", { class: "review-notes" });
    ui.side = el("aside", { class: "review-side", "aria-label": "evidence" });
    ui.stage = el("div", { class: "wovr-scrubber" });
    ui.blank = el("div", { class: "wovr-empty", hidden: true });
    ui.acts = this.acts();
    ui.work = el("div", { class: "review-work" }, ui.side, el("section", { class: "review-stage", "aria-label": "rollout" }, ui.stage));
    ui.other = el("div", { class: "review-other", hidden: true });
    ui.dialog = el("dialog", { class: "review-dialog" });
    ui.guide = el("dialog", { class: "review-guide", "aria-label": "how to label" });
    ui.loading = el("div", { class: "wovr-loading", text: "looking for something to look at" });
    clear(this.host, ui.top, ui.notes, ui.loading, ui.work, ui.blank, ui.other, ui.dialog, ui.guide);
    this.host.dataset.state = "loading";
    const on = (target, type, act, more) => target.addEventListener(type, act, { signal: this.ending.signal, ...more });
    on(document, "keydown", (event) => this.key(event), { capture: true });
    on(window, "popstate", () => this.show(readView(), false));
    on(document, "visibilitychange", () => { if (!document.hidden && this.item) this.renew(); });
    for (const dialog of [ui.dialog, ui.guide]) on(dialog, "close", () => this.focus());
  }

  acts() {
    const act = (text, key, run, main = false) => el("button", { type: "button", class: `wovr-button ${main ? "main" : ""}`, onclick: run }, text, " ", el("kbd", { text: key }));
    this.ui.hand = act("Hand in, next", "Enter", () => this.hand(), true);
    return el("div", { class: "review-acts" }, this.ui.hand, el("div", { class: "wovr-acts" }, act("Skip", "S", () => this.skip()), act("Give back", "Esc", () => this.giveBack())),
      el("p", { class: "hint" }, el("kbd", { text: "I" }), " ", el("kbd", { text: "O" }), " a span, ", el("kbd", { text: "1-9" }), " its label, ", el("kbd", { text: "M" }), " its note"));
  }

  async start() {
    const scrubber = await import(new URL(this.props.scrubber_url, document.baseURI).href);
    this.mountScrubber = scrubber.mountGradio;
    this.mountLabelling();
    this.me = await this.ask({ op: "hello" });
    if (this.me.error) { this.fail("This page could not be loaded", this.me.error); return; }
    this.tell(this.me.progress);
    clear(this.ui.tabs, VIEWS.filter(([, , operators]) => !operators || this.me.operator).map(([key, title]) =>
      el("button", { type: "button", role: "tab", class: "tab", dataset: { view: key }, text: title, onclick: () => this.show(key) })));
    this.show(readView(), false);
  }

  /** A scrubber on `element`, fed by `props.value` through `feed`; `call` answers its edits. */
  scrubberOn(element, call) {
    const told = [];
    const props = { value: null };
    const end = this.mountScrubber({ element, props, watch: (_, act) => told.push(act), trigger: () => {}, call });
    return { end, feed: (value) => { props.value = value; for (const act of told) act(); }, now: () => element.firstElementChild?.wovrScrubber ?? null };
  }

  mountLabelling() {
    this.labelling = this.scrubberOn(this.ui.stage, async ({ op, kind, ...edit }) => {
      try {
        const answer = await this.ask({ ...edit, op: "edit", edit: op }, { patient: false });
        if (answer.error && answer.kind !== "ack") return { kind: "ack", event: edit.event, ok: false, retry: false, error: answer.error, version: 0 };
        return answer;
      } catch {
        this.watchOver();
        throw new Error("the server cannot be reached");
      }
    });
    this.scrubberEnd = this.labelling.end;
  }

  /** While the server is away somebody must notice that it is back: edits alone would wait for long. */
  async watchOver() {
    if (this.watching) return;
    this.watching = true;
    try { await this.ask({ op: "hello" }); } finally { this.watching = false; }
  }

  scrubber() { return this.labelling?.now() ?? null; }

  show(view, push = true) {
    const allowed = VIEWS.find(([key, , operators]) => key === view && (!operators || this.me.operator)) ? view : "label";
    this.view = allowed;
    if (push) { const url = new URL(location.href); url.search = allowed === "label" ? "" : `?view=${allowed}`; history.pushState(history.state, "", url); }
    for (const tab of this.ui.tabs.children) { tab.setAttribute("aria-selected", String(tab.dataset.view === allowed)); tab.tabIndex = tab.dataset.view === allowed ? 0 : -1; }
    const labels = allowed === "label";
    this.ui.other.hidden = labels;
    this.ui.claim.hidden = this.ui.progress.hidden = !labels;
    if (!labels) {
      this.ui.work.hidden = this.ui.blank.hidden = this.ui.loading.hidden = true;
      this.other?.end?.();
      const made = { disputes: Disputes, quality: Quality, loop: Corrections }[allowed];
      this.other = new made(this, this.ui.other);
      this.host.dataset.state = "other";
      return;
    }
    this.other?.end?.();
    this.other = null;
    if (this.item) { this.ui.work.hidden = false; this.host.dataset.state = "ready"; this.focus(); } else this.next();
  }

  // -- one item after another

  async next() {
    if (this.busy) return;
    this.busy = true;
    this.host.dataset.state = "loading";
    this.ui.loading.hidden = Boolean(this.ui.work.dataset.filled);
    const answer = await this.ask({ op: "next" });
    this.busy = false;
    this.ui.loading.hidden = true;
    if (this.view !== "label") return;
    this.tell(answer.progress);
    if (answer.error) { this.fail(answer.forbidden ? "Labelling is for annotators" : "The queue could not be opened", answer.error); return; }
    if (!answer.item) { this.nothing(answer); return; }
    this.open(answer.item);
  }

  open(item) {
    this.calm("lost");
    this.item = item;
    this.stats.opened += 1;
    this.ui.blank.hidden = true;
    this.ui.work.hidden = false;
    this.ui.work.dataset.filled = "yes";
    this.host.dataset.item = item.id;
    this.fillSide(item);
    this.labelling.feed(item.value ?? null);
    this.ui.hand.disabled = Boolean(item.error);
    this.host.dataset.state = item.error ? "broken" : "ready";
    this.renewSoon(item);
    this.focus();
    announce(item.error ? "This rollout cannot be opened" : `${item.id.split("/").at(-1)}: ${item.sheet.reason}`);
  }

  async hand() {
    if (!this.item || this.busy || this.item.error) return;
    const { item } = this;
    const scrubber = this.scrubber();
    scrubber?.flush?.();
    this.busy = true;
    this.host.dataset.state = "handing-in";
    // What was flagged is on the server's disk before the item is handed in.
    while (scrubber?.edits.unsaved()) {
      if (this.ending.signal.aborted) return;
      await wait(15);
    }
    if (scrubber?.edits.error && item.refused !== scrubber.edits.error) {
      item.refused = scrubber.edits.error;
      this.busy = false;
      this.host.dataset.state = "ready";
      this.warn(`An edit was refused: ${item.refused}. Look at the spans; Enter once more hands them in as they are.`, "lost");
      return;
    }
    const answer = await this.ask({ op: "submit", id: item.id, made: item.made });
    this.busy = false;
    if (answer.error) {
      this.host.dataset.state = "ready";
      this.warn(answer.error + (answer.lost ? " Enter goes on to the next item." : ""), "lost");
      if (answer.lost) this.letGo();
      return;
    }
    this.stats.handed += 1;
    this.letGo();
    await this.next();
  }

  letGo() {
    clearTimeout(this.renewing);
    this.item = null;
    delete this.host.dataset.item;
    this.ui.claim.textContent = "";
  }

  skip() {
    if (!this.item || this.busy) return;
    const reasons = ["cannot tell what is wrong", "pictures are broken", "not a case for these labels"];
    const field = el("input", { class: "wovr-input", "aria-label": "reason", maxlength: 500, required: true, placeholder: "why is it passed on?", list: "wovr-skip-reasons" });
    const form = el("form", { method: "dialog" }, el("h2", { text: "Skip this rollout" }), el("p", { text: "Others will see it; you will not be asked again. Your spans stay." }),
      field, el("datalist", { id: "wovr-skip-reasons" }, reasons.map((value) => el("option", { value }))),
      el("div", { class: "wovr-acts" }, el("button", { type: "submit", class: "wovr-button main" }, "Skip ", el("kbd", { text: "Enter" })), el("button", { type: "button", class: "wovr-button", onclick: () => this.ui.dialog.close() }, "Keep it ", el("kbd", { text: "Esc" }))));
    form.addEventListener("submit", (event) => { event.preventDefault(); if (field.value.trim()) { this.ui.dialog.close(); this.leave({ op: "skip", why: field.value.trim() }); } });
    clear(this.ui.dialog, form);
    this.ui.dialog.showModal();
    field.focus();
  }

  async leave(message) {
    const { item } = this;
    this.busy = true;
    const answer = await this.ask({ ...message, id: item.id, made: item.made });
    this.busy = false;
    if (answer.error && !answer.lost) { this.warn(answer.error, "lost"); return; }
    this.letGo();
    if (message.op === "release") this.paused(); else await this.next();
  }

  giveBack() { if (this.item && !this.busy) this.leave({ op: "release" }); }

  paused() {
    this.blank("paused", "You have given it back", [el("p", { text: "Your spans stay in the run. Whoever asks next gets the item." })], [this.go("Take the next one")]);
  }

  // -- the claim

  renewSoon({ expires, now, lease }) {
    clearTimeout(this.renewing);
    const left = Math.max(0, expires - now);
    this.ui.claim.textContent = "yours";
    this.ui.claim.title = "This item is yours while the page is open.";
    this.renewing = setTimeout(() => this.renew(), 1000 * Math.max(0.25, Math.min(left / 3, lease / 3, 60)));
  }

  async renew() {
    clearTimeout(this.renewing);
    const { item } = this;
    if (!item || this.busy) { this.renewing = setTimeout(() => this.renew(), 1000); return; }
    const answer = await this.ask({ op: "keep", id: item.id, made: item.made });
    if (this.item !== item) return;
    if (answer.error) {
      this.ui.claim.textContent = "claim lost";
      this.warn(`${answer.error}. Your spans are saved. Enter still hands them in if nobody else has taken the item.`, "lost");
      announce("The claim was lost", true);
      return;
    }
    this.calm("lost");
    this.renewSoon({ ...item, ...answer });
  }

  // -- keys

  key(event) {
    if (this.ending.signal.aborted || !this.host.isConnected || event.isComposing) return;
    const target = event.composedPath()[0];
    const take = (act) => { event.preventDefault(); event.stopImmediatePropagation(); act(); };
    if (this.ui.guide.open && event.key === "?") { take(() => this.ui.guide.close()); return; }
    if (this.ui.dialog.open || this.ui.guide.open) return;  // a dialog has its own Enter and Esc
    if (target instanceof HTMLElement && target.matches("input, textarea, select")) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "?" ) { take(() => this.guide()); return; }
    if (this.view !== "label") { this.other?.key?.(event, take, target); return; }
    const button = target instanceof HTMLElement && target.matches("button, a, summary") && !this.ui.stage.contains(event.target);
    const scrubber = this.scrubber();
    if (event.key === "Enter" && !event.repeat) { if (!button) take(() => (this.item ? this.hand() : this.next())); }
    else if (event.key.toLowerCase() === "s" && !event.shiftKey) take(() => this.skip());
    else if (event.key.toLowerCase() === "d" && !event.shiftKey) take(() => this.seek(this.item?.sheet?.curve?.first));
    else if (event.key === "Escape" && this.item && !letsGo(scrubber)) take(() => this.giveBack());
  }

  seek(frame) { if (Number.isInteger(frame)) { this.scrubber()?.seek(frame); this.focus(); } }

  focus() { if (this.view === "label" && this.item && !this.item.error && !this.ui.dialog.open && !this.ui.guide.open) this.scrubber()?.focus(); }

  // -- what is shown

  tell(progress) {
    if (!progress) return;
    const rate = progress.per_minute === null ? "–" : progress.per_minute.toFixed(progress.per_minute < 10 ? 1 : 0);
    clear(this.ui.progress, [[progress.done_today, "done today"], [progress.open, "open"], [rate, "items/min"]].map(([value, title]) => el("span", {}, el("b", { text: value }), ` ${title}`)));
    Object.assign(this.host.dataset, { done: progress.done_today, open: progress.open });
  }

  fillSide(item) {
    if (item.error) {
      clear(this.ui.side, el("h2", { text: "This rollout cannot be opened" }), el("p", { class: "wovr-error", text: item.error }), el("p", {}, el("kbd", { text: "S" }), " passes it on with a reason."), this.ui.acts);
      return;
    }
    const { sheet } = item;
    clear(this.ui.side, el("h2", { class: "name", text: item.id.split("/").at(-1), title: item.id }), el("p", { class: "task", text: `“${item.instruction}”` }),
      el("p", { class: "why" }, el("b", { text: "Why you see it: " }), sheet.reason), sheet.curve ? this.curve(sheet.curve) : null,
      sheet.groups.map((group) => [el("h3", { text: group.title }), el("dl", {}, group.rows.flatMap((row) => [el("dt", { text: row.label }), el("dd", { class: row.tone || null }, this.value(row))]))]),
      this.ui.acts,
      sheet.missing.length ? el("details", {}, el("summary", { text: `not known: ${sheet.missing.length}` }), el("ul", {}, sheet.missing.map((text) => el("li", { text })))) : null,
      el("p", { class: "run", text: item.run }));
  }

  value(row) {
    if (row.frame === null || row.frame === undefined) return row.value;
    return el("button", { type: "button", class: "jump", title: `to frame ${row.frame}`, text: row.value, onclick: () => this.seek(row.frame) });
  }

  /** Divergence over time; a click goes there. */
  curve({ frames, points, threshold, first }) {
    const [w, h] = [226, 54], top = Math.max(threshold * 1.2, ...points.map(([, v]) => v));
    const x = (k) => (k / Math.max(1, frames - 1)) * w, y = (v) => h - 2 - (v / top) * (h - 6);
    const ns = "http://www.w3.org/2000/svg", make = (tag, attrs) => { const node = document.createElementNS(ns, tag); for (const [k, v] of Object.entries(attrs)) node.setAttribute(k, v); return node; };
    const svg = make("svg", { viewBox: `0 0 ${w} ${h}`, class: "curve", role: "img", "aria-label": `difference from reality per frame, up to ${Math.max(...points.map(([, v]) => v))} of 255` });
    svg.append(make("line", { x1: 0, x2: w, y1: y(threshold), y2: y(threshold), class: "limit" }), make("polyline", { points: points.map(([k, v]) => `${x(k)},${y(v)}`).join(" "), class: "line" }));
    if (first !== null) svg.append(make("line", { x1: x(first), x2: x(first), y1: 0, y2: h, class: "first" }));
    svg.addEventListener("click", (event) => { const box = svg.getBoundingClientRect(); this.seek(Math.round(((event.clientX - box.left) / box.width) * (frames - 1))); });
    return svg;
  }

  nothing(answer) {
    this.letGo();
    const text = answer.any ? "Nothing is left for you to look at. What others hold may come back." : "There are no imagined rollouts yet. Make a demo run, then come back:";
    this.blank(answer.any ? "done" : "empty", answer.any ? "All done" : "Nothing to review yet", [el("p", { text }), answer.any ? null : el("pre", { text: "wovr demo" })], [this.go("Look again")]);
  }

  fail(title, why) { this.blank("error", title, [el("p", { class: "wovr-error", text: why })], [this.go("Try again")]); }

  blank(state, title, body, acts) {
    this.host.dataset.state = state;
    this.ui.loading.hidden = this.ui.work.hidden = true;
    this.ui.blank.hidden = false;
    clear(this.ui.blank, el("h2", { text: title }), body, el("div", { class: "wovr-acts" }, acts));
    this.ui.blank.querySelector("button")?.focus();
  }

  go(text) { return el("button", { type: "button", class: "wovr-button main", onclick: () => (this.me && !this.me.error ? this.next() : this.start()) }, text, " ", el("kbd", { text: "Enter" })); }

  warn(text, name) {
    this.calm(name);
    this.ui.notes.append(el("div", { class: "wovr-notice", role: "alert", dataset: { note: name }, text }));
  }

  calm(name) { this.ui.notes.querySelector(`[data-note="${name}"]`)?.remove(); }

  guide() {
    const entries = this.props.guideline.map((entry, n) => el("section", {}, el("h3", {}, el("kbd", { text: String((n + 1) % 10) }), " ", entry.title), el("p", { text: entry.guide }),
      entry.picture ? el("figure", {}, el("img", { src: entry.picture, alt: `${entry.title}: ${entry.why}`, loading: "lazy" }), el("figcaption", {}, entry.why, el("small", { text: entry.caption }))) : el("p", { class: "none", text: entry.why })));
    clear(this.ui.guide, el("header", {}, el("h2", { text: "How to label what a world model gets wrong" }), el("button", { type: "button", class: "wovr-button", onclick: () => this.ui.guide.close() }, "Close ", el("kbd", { text: "Esc" }))),
      el("p", { text: "Mark the first and the last frame of what is wrong, and choose the label that names the cause. Severity 1: slight, one has to look for it; 2: clear; 3: it decides how the rollout ends. Two things wrong at once are two spans. Nothing wrong? Hand it in without a span." }),
      el("div", { class: "keys" }, KEYS.map(([keys, does]) => el("div", {}, el("kbd", { text: keys }), el("span", { text: does })))), el("div", { class: "entries" }, entries));
    this.ui.guide.showModal();
  }
}

/** Whether the scrubber itself has something that Esc lets go of. */
const letsGo = (scrubber) => Boolean(scrubber && (scrubber.selected || scrubber.pendingIn !== null || scrubber.drag || scrubber.ui.sheet.classList.contains("on")));

const readView = () => new URLSearchParams(location.search).get("view") ?? "label";
