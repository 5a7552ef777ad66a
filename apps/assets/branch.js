/* Page Branch: a rollout in the scrubber, beside it what the robot is to do next instead.
 *
 * The address holds the state: ?rollout=ID&frame=N&fork=ID. Everything is asked of one server function; texts reach the
 * page through textContent alone. While the page is looked at it asks after its job; a job nobody asks after ends.
 */

import { announce, answerTo, clear, debounce, el } from "./dom.js";

const DIMS = ["x", "y", "z", "turn x", "turn y", "turn z"];
const MIRRORED = [1, 3, 5];  // left becomes right: sideways motion, roll and yaw change their sign
const GRIPPER = 6;
const AFTER = { policy: "the policy goes on", original: "the actions as they were", still: "nobody: hold still" };
const POLL = 500;

const fixed = (x, n = 2) => Number(x).toFixed(n);

function readAddress() {
  const query = new URLSearchParams(location.search);
  const frame = Number.parseInt(query.get("frame") ?? "", 10);
  return { rollout: query.get("rollout"), fork: query.get("fork"), frame: Number.isInteger(frame) && frame >= 0 ? frame : null };
}

export function mount({ element, props, ask }) {
  const host = element.querySelector(".wovr-page") ?? element;
  const page = new Branch(host, props, ask);
  host.wovrBranch = page;
  return page;
}

class Branch {
  constructor(host, props, ask) {
    Object.assign(this, { host, props, ask, rollout: null, forks: [], shown: null, beside: "original", job: null, actions: [], undone: [], asked: 0, text: "", listPage: 0 });
    this.closing = new AbortController();
    addEventListener("popstate", () => this.follow(), { signal: this.closing.signal });
    this.clock = setInterval(() => this.tick(), 150);
    this.follow();
  }

  close() { this.closing.abort(); clearInterval(this.clock); }

  question(message) { return answerTo(message, this.ask); }

  follow() {
    const { rollout, fork, frame } = readAddress();
    if (rollout) this.open(rollout, fork, frame); else this.choose();
  }

  address(push = false) {
    const url = new URL(location.href);
    url.search = "";
    if (this.rollout) {
      url.searchParams.set("rollout", this.rollout.id);
      if (this.shown) url.searchParams.set("fork", this.shown.id);
      url.searchParams.set("frame", String(this.frame()));
    }
    if (url.href === location.href) return;
    if (push) history.pushState(null, "", url); else history.replaceState(history.state, "", url);
  }

  // -- choosing a rollout

  async choose() {
    this.leaveRollout();
    this.host.dataset.state = "loading";
    const turn = ++this.asked;
    if (!this.host.querySelector(".picker")) clear(this.host, el("div", { class: "wovr-loading", role: "status", text: "Looking for rollouts …" }));
    const answer = await this.question({ op: "list", page: this.listPage, text: this.text });
    if (turn !== this.asked) return;
    if (answer.error) { this.failed("The rollouts could not be listed", answer.error, () => this.choose()); return; }
    if (!answer.total && !this.text) {
      this.host.dataset.state = "empty";
      clear(this.host, el("div", { class: "wovr-empty" }, el("h2", { text: "No imagined rollout to branch from yet" }),
        el("p", { text: "A run holds rollouts that a world model imagined. Open the starter pack, or make a run of your own (about 12 minutes on two cores):" }),
        el("pre", { text: "wovr app --demo\nwovr demo" }), el("div", { class: "wovr-acts" }, el("button", { type: "button", class: "wovr-button main", text: "Look again", onclick: () => this.choose() }))));
      return;
    }
    this.host.dataset.state = "list";
    const search = el("input", { type: "search", class: "wovr-input", placeholder: "search id, instruction", "aria-label": "search", maxlength: 200, value: this.text });
    search.addEventListener("input", debounce(() => { this.text = search.value.trim(); this.listPage = 0; this.choose(); }, 250));
    const turnTo = (by, text) => el("button", { type: "button", class: "wovr-button", text, disabled: answer.page + by < 0 || answer.page + by >= answer.pages,
      onclick: () => { this.listPage = answer.page + by; this.choose(); } });
    const typing = this.host.contains(document.activeElement) && document.activeElement.type === "search";
    clear(this.host, el("div", { class: "picker" },
      el("header", {}, el("h1", { text: "Branch" }), el("p", { text: "Pick a rollout. Pause it anywhere, change what the robot does next, and imagine on." }), search),
      ...answer.problems.map((p) => el("div", { class: "wovr-notice", role: "alert", text: `${p.run}: ${p.reason}` })),
      answer.total ? null : el("p", { class: "none", text: "No rollout passes this search." }),
      el("div", { class: "cards" }, answer.cards.filter((card) => !card.broken).map((card) => this.card(card))),
      el("nav", { class: "wovr-acts", "aria-label": "pages of rollouts", hidden: answer.pages < 2 }, turnTo(-1, "‹ previous"), el("span", { text: `page ${answer.page + 1} of ${answer.pages}` }), turnTo(1, "next ›"))));
    if (typing) { search.focus(); search.setSelectionRange(search.value.length, search.value.length); }
  }

  card(card) {
    const href = new URL(location.href);
    href.search = `?rollout=${encodeURIComponent(card.id)}`;
    const tone = { false_success: "bad", missed_success: "bad", true_success: "good" }[card.verdict] ?? "";
    return el("a", { class: "wovr-card", href: href.href, dataset: { id: card.id },
      onclick: (event) => { if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return; event.preventDefault(); history.pushState(null, "", href); this.follow(); } },
      el("img", { loading: "lazy", alt: `frames of ${card.name}`, src: new URL(this.props.pictures + card.picture, document.baseURI).href }),
      el("div", {}, el("span", { class: `wovr-chip ${tone}`, text: card.verdict === "not_audited" ? card.outcome_title : card.verdict_title }),
        el("span", { text: card.instruction }), el("small", { text: `${card.run} · ${card.stage} · ${card.length} actions` })));
  }

  failed(title, why, again) {
    this.host.dataset.state = "error";
    clear(this.host, el("div", { class: "wovr-empty", role: "alert" }, el("h2", { text: title }), el("p", { text: why }),
      el("div", { class: "wovr-acts" }, el("button", { type: "button", class: "wovr-button main", text: "Try again", onclick: again }),
        el("button", { type: "button", class: "wovr-button", text: "All rollouts", onclick: () => { history.pushState(null, "", location.pathname); this.follow(); } }))));
  }

  leaveRollout() {
    this.rollout = null;
    this.shown = null;
    if (this.job) this.question({ op: "cancel", job: this.job });
    this.job = null;
  }

  // -- a rollout

  async open(id, fork, frame) {
    if (this.rollout?.id === id) { if (fork && this.shown?.id !== fork) this.show(fork, this.beside, frame); else if (!fork && this.shown) this.showOriginal(frame); else if (frame !== null) this.scrubber()?.seek(frame); return; }
    this.leaveRollout();
    const turn = ++this.asked;
    this.host.dataset.state = "loading";
    clear(this.host, el("div", { class: "wovr-loading", role: "status", text: "Opening the rollout …" }));
    const answer = await this.question({ op: "open", rollout: id });
    if (turn !== this.asked) return;
    if (answer.error) { this.failed("This rollout cannot be branched", answer.error, () => this.open(id, fork, frame)); return; }
    Object.assign(this, { rollout: answer.rollout, forks: answer.forks, limits: answer.limits, may: answer.may, original: answer.value, shown: null, undone: [] });
    this.build();
    await this.mountScrubber();
    if (turn !== this.asked) return;
    this.put(answer.value, frame ?? Math.min(16, answer.value.meta.frames - 1));
    this.chunk = null;
    this.host.dataset.state = "ready";
    this.tick();  // at once: what is pressed next finds the chunk's actions
    if (fork) await this.show(fork, "original", frame);
    this.scrubber()?.focus();
  }

  build() {
    const ui = (this.ui = {});
    const group = (title, ...nodes) => el("section", {}, el("h3", { text: title }), ...nodes);
    ui.where = el("p", { class: "where", "aria-live": "polite" });
    ui.source = el("div", { class: "tabs", role: "radiogroup", "aria-label": "where the next actions come from" },
      ["edit", "policy"].map((key) => el("button", { type: "button", class: "wovr-button", role: "radio", "aria-checked": "false", dataset: { source: key },
        text: { edit: "I decide", policy: "the policy, drawn again" }[key], disabled: key === "policy" && !this.rollout.policy, onclick: () => this.setSource(key) })));
    ui.presets = el("div", { class: "wovr-acts presets" }, [["as", "As it was"], ["hold", "Hold"], ["mirror", "Mirror"], ["lift", "Lift"]].map(([key, text]) =>
      el("button", { type: "button", class: "wovr-button", text, dataset: { preset: key }, onclick: () => this.preset(key) })),
      ui.back = el("button", { type: "button", class: "wovr-button plain", text: "↶ Undo", title: "take back the last change (Ctrl+Z)", onclick: () => this.undo() }));
    ui.grid = el("div", { class: "grid", role: "group", "aria-label": "the next eight actions", onkeydown: (event) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") { event.preventDefault(); event.stopPropagation(); this.undo(); } } });
    ui.edit = el("div", {}, ui.presets, ui.grid);
    const number = (label, attrs) => { const input = el("input", { type: "number", class: "wovr-input", ...attrs }); return [input, el("label", {}, label, input)]; };
    const [temperature, temperatureLabel] = number("temperature", { min: 0, max: 4, step: 0.1, value: 1 });
    const [seed, seedLabel] = number("seed", { min: 0, max: 2147483647, step: 1, value: 1 });
    const [chunks, chunksLabel] = number("chunks", { min: 1, max: this.limits.chunks, step: 1, value: 4 });
    Object.assign(ui, { temperature, seed, chunks });
    ui.draw = el("div", { class: "fields" }, temperatureLabel, seedLabel);
    ui.after = el("select", { class: "wovr-select", "aria-label": "who decides afterwards", onchange: () => this.sourceChanged() },
      Object.entries(AFTER).filter(([key]) => key !== "policy" || this.rollout.policy).map(([value, text]) => el("option", { value, text })));
    ui.go = el("button", { type: "button", class: "wovr-button main", text: "Imagine on", title: "Ctrl+Enter", disabled: !this.may, onclick: () => this.imagine() });
    ui.cancel = el("button", { type: "button", class: "wovr-button", text: "Cancel", hidden: true, onclick: () => this.job && this.question({ op: "cancel", job: this.job }) });
    ui.progress = el("progress", { class: "wovr-progress", max: 1, value: 0, hidden: true, "aria-label": "progress" });
    ui.doing = el("p", { class: "doing", role: "status" });
    ui.error = el("div", { class: "wovr-error", role: "alert", hidden: true });
    ui.forks = el("ul", { class: "forks" });
    ui.fork = el("div", { class: "fork", hidden: true });
    ui.scrubber = el("div", { class: "wovr-scrubber" });
    ui.panel = el("aside", { class: "panel", "aria-label": "what happens next" },
      el("div", { class: "head" }, el("button", { type: "button", class: "wovr-button plain", text: "‹ Rollouts", onclick: () => { history.pushState(null, "", location.pathname); this.follow(); } }),
        el("span", { class: "task", text: `“${this.rollout.instruction}”` })),
      this.may ? null : el("div", { class: "wovr-notice", text: "You may look at forks. Imagining one takes the role annotator." }),
      this.rollout.policy ? null : el("div", { class: "wovr-notice", text: "The policy that acted is no longer in this run: edit the chunk, and keep the later actions or hold still." }),
      group("Next chunk", ui.where, ui.source, ui.edit),
      group("Afterwards", el("div", { class: "fields" }, ui.after, chunksLabel), ui.draw),
      el("div", { class: "wovr-acts go" }, ui.go, ui.cancel), ui.progress, ui.doing, ui.error,
      group("Forks", ui.forks, ui.fork));
    ui.panel.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.imagine(); } });
    clear(this.host, el("div", { class: "split" }, ui.panel, el("main", {}, ui.scrubber)));
    this.setSource("edit");
    this.fillForks();
  }

  async mountScrubber() {
    const module = await import(new URL(this.props.scrubber_url, document.baseURI).href);
    const state = { value: null };
    let changed = () => {};
    this.scrubberState = (value) => { state.value = value; changed(); };
    module.mountGradio({ element: this.ui.scrubber, props: state, watch: (_, act) => { changed = act; },
      trigger: (kind) => { if (kind === "branch") this.edit(); }, call: async () => ({ kind: "ack", ok: false, error: "forks are annotated in Inspect, once they are kept" }) });
    const s = this.scrubber();
    if (s) s.link = null;  // the address is this page's
  }

  scrubber() {
    for (const node of [this.ui?.scrubber, ...(this.ui?.scrubber?.querySelectorAll("*") ?? [])]) if (node?.wovrScrubber) return node.wovrScrubber;
    return null;
  }

  frame() { return this.scrubber()?.wanted ?? 0; }

  put(value, frame = null) {
    const meta = frame === null ? value.meta : { ...value.meta, frame };
    this.scrubberState({ ...value, meta });
    const s = this.scrubber();
    if (s && frame !== null) s.seek(Math.min(frame, meta.frames - 1));
  }

  /** Looks where the playhead stands; a scrubber sends no events for it. */
  tick() {
    if (!this.host.isConnected) { this.close(); return; }
    if (!this.rollout || this.host.dataset.state !== "ready") return;
    const frame = this.frame();
    if (frame !== this.lastFrame) { this.lastFrame = frame; clearTimeout(this.addressing); this.addressing = setTimeout(() => this.rollout && this.address(), 400); }
    if (this.shown) { this.says("A fork is shown. Go back to the original to branch elsewhere, or change its actions and imagine again from the same chunk."); return; }
    const chunk = Math.ceil(frame / this.limits.chunk);
    if (chunk !== this.chunk) { this.chunk = chunk; this.asItWas(); }
    const last = this.rollout.chunks, first = chunk * this.limits.chunk;
    this.says(chunk >= last ? `At its end (frame ${frame}): the fork goes on after the original's ${last} chunks.`
      : `At frame ${frame}: chunk ${chunk + 1} of ${last} is next, actions ${first + 1} to ${first + this.limits.chunk}.`);
  }

  says(text) { if (this.ui.where.textContent !== text) this.ui.where.textContent = text; }

  // -- the chunk's actions

  asItWas() {
    const c = this.limits.chunk, rows = this.rollout.actions.slice(this.chunk * c, (this.chunk + 1) * c);
    const gripper = this.gripperBefore();
    while (rows.length < c) rows.push([0, 0, 0, 0, 0, 0, gripper]);
    this.actions = rows.map((row) => [...row]);
    this.undone = [];
    this.fillGrid();
  }

  gripperBefore() { const at = Math.min(this.chunk * this.limits.chunk, this.rollout.actions.length) - 1; return at >= 0 ? Math.sign(this.rollout.actions[at][GRIPPER]) || -1 : -1; }

  change(act) {
    const before = JSON.stringify(this.actions);
    act(this.actions);
    if (JSON.stringify(this.actions) === before) return;
    this.undone.push(before);
    if (this.undone.length > 200) this.undone.shift();
    this.fillGrid();
  }

  undo() {
    const before = this.undone.pop();
    if (before) { this.actions = JSON.parse(before); this.fillGrid(); announce("taken back"); }
  }

  preset(key) {
    if (key === "as") { const rows = this.rollout.actions.slice(this.chunk * this.limits.chunk, (this.chunk + 1) * this.limits.chunk); this.change((a) => rows.forEach((row, i) => { a[i] = [...row]; })); }
    if (key === "hold") this.change((a) => a.forEach((row) => { const g = this.gripperBefore(); row.fill(0); row[GRIPPER] = g; }));
    if (key === "mirror") this.change((a) => a.forEach((row) => MIRRORED.forEach((d) => { row[d] = -row[d] || 0; })));
    if (key === "lift") this.change((a) => a.forEach((row) => { row.fill(0, 0, GRIPPER); row[2] = 1; }));
    announce(`preset ${key}`);
  }

  fillGrid() {
    const focused = this.ui.grid.contains(document.activeElement) ? document.activeElement.dataset.cell : null;
    const steps = [...Array(this.limits.chunk).keys()];
    const cell = (d, t) => el("input", { type: "range", min: -1, max: 1, step: 0.05, value: this.actions[t][d], dataset: { cell: `${d}-${t}` }, title: `${DIMS[d]}, action ${t + 1}: ${fixed(this.actions[t][d])}`,
      "aria-label": `${DIMS[d]}, action ${t + 1}`, onchange: (event) => this.change((a) => { a[t][d] = Number(event.target.value); }) });
    const all = (d) => { const mean = steps.reduce((sum, t) => sum + this.actions[t][d], 0) / steps.length;
      return el("input", { type: "range", class: "all", min: -1, max: 1, step: 0.05, value: mean, dataset: { cell: `${d}-all` }, title: `${DIMS[d]}, all eight: mean ${fixed(mean)}`, "aria-label": `${DIMS[d]}, all eight actions`,
        onchange: (event) => this.change((a) => a.forEach((row) => { row[d] = Number(event.target.value); })) }); };
    const hand = (t) => { const closed = this.actions[t][GRIPPER] > 0; return el("button", { type: "button", class: "hand", "aria-pressed": String(closed), dataset: { cell: `${GRIPPER}-${t}` }, text: closed ? "●" : "○",
      title: `gripper, action ${t + 1}: ${closed ? "close" : "open"}`, "aria-label": `gripper closed, action ${t + 1}`, onclick: () => this.change((a) => { a[t][GRIPPER] = closed ? -1 : 1; }) }); };
    const allHands = () => el("button", { type: "button", class: "hand all", dataset: { cell: `${GRIPPER}-all` }, text: "all", "aria-label": "gripper: turn all eight over", title: "turn all eight over",
      onclick: () => this.change((a) => { const to = a[0][GRIPPER] > 0 ? -1 : 1; a.forEach((row) => { row[GRIPPER] = to; }); }) });
    clear(this.ui.grid, el("span", {}), el("small", { text: "all" }), steps.map((t) => el("small", { text: String(t + 1) })),
      DIMS.map((name, d) => [el("span", { class: "dim", text: name }), all(d), steps.map((t) => cell(d, t))]),
      el("span", { class: "dim", text: "gripper" }), allHands(), steps.map(hand));
    this.ui.back.disabled = !this.undone.length;
    if (focused) this.ui.grid.querySelector(`[data-cell="${focused}"]`)?.focus();
  }

  setSource(key) {
    this.source = key;
    for (const button of this.ui.source.children) button.setAttribute("aria-checked", String(button.dataset.source === key));
    this.sourceChanged();
  }

  sourceChanged() {
    this.ui.edit.hidden = this.source !== "edit";
    this.ui.draw.hidden = this.source !== "policy" && this.ui.after.value !== "policy";
  }

  edit() { this.setSource("edit"); this.ui.grid.querySelector("input")?.focus(); }

  // -- jobs

  async imagine() {
    if (!this.may || this.job || this.chunk === null) return;
    const { ui } = this;
    const message = { op: "imagine", rollout: this.rollout.id, frame: this.chunk * this.limits.chunk, chunks: Number.parseInt(ui.chunks.value, 10), source: this.source, afterwards: ui.after.value,
      temperature: Number(ui.temperature.value), seed: Number.parseInt(ui.seed.value, 10) };
    if (this.source === "edit") message.actions = this.actions;
    const fork = await this.follows(message, "imagining", "chunks");
    if (fork) await this.show(fork, "original", this.chunk * this.limits.chunk);
  }

  /** Begins a job and asks after it until it ends; what it made, or null. */
  async follows(message, verb, unit) {
    const { ui } = this, rollout = this.rollout.id;
    ui.error.hidden = true;
    this.busy(true);
    ui.doing.textContent = `${verb} …`;
    const begun = await this.question(message);
    if (begun.error) { this.complain(begun.error); return null; }
    this.job = begun.job;
    for (;;) {
      const state = await this.question({ op: "state", job: begun.job });
      if (this.rollout?.id !== rollout || this.job !== begun.job) return null;  // left meanwhile
      if (state.error && !state.state) { this.complain(state.error); return null; }
      if (state.state !== "running") {
        this.job = null;
        this.busy(false);
        ui.doing.textContent = "";
        if (state.state === "failed") { this.complain(state.error); return null; }
        if (state.state === "cancelled") { ui.doing.textContent = "Cancelled."; return null; }
        return state.result;
      }
      ui.progress.value = state.total ? state.done / state.total : 0;
      ui.doing.textContent = state.done || unit === "chunks" ? `${verb}: ${state.done} of ${state.total} ${unit}` : "building the scene in the simulator …";
      await new Promise((resolve) => { setTimeout(resolve, POLL); });
    }
  }

  busy(on) {
    const { ui } = this;
    ui.go.disabled = on || !this.may;
    ui.cancel.hidden = ui.progress.hidden = !on;
    ui.progress.value = 0;
    for (const button of ui.fork.querySelectorAll("button[data-acts]")) button.disabled = on || button.dataset.acts === "never";
  }

  complain(why) {
    this.job = null;
    this.busy(false);
    this.ui.doing.textContent = "";
    this.ui.error.textContent = why;
    this.ui.error.hidden = false;
  }

  // -- forks

  async show(id, beside, frame = null) {
    const rollout = this.rollout.id;
    const answer = await this.question({ op: "show", rollout, fork: id, beside });
    if (this.rollout?.id !== rollout) return;
    if (answer.error) { this.complain(answer.error); this.address(); return; }
    this.remember(answer.fork);
    this.shown = answer.fork;
    this.chunk = answer.fork.chunk;
    this.beside = beside;
    this.put(answer.value, frame ?? this.frame());
    this.fillForks();
    this.address();
    announce(`fork shown: ${answer.fork.imagined_success ? "imagined success" : "no imagined success"}`);
  }

  showOriginal(frame = null) {
    const at = frame ?? this.frame();
    this.shown = null;
    this.chunk = null;
    this.put(this.original, at);
    this.fillForks();
    this.address();
  }

  remember(fork) {
    const at = this.forks.findIndex((other) => other.id === fork.id);
    if (at >= 0) this.forks[at] = fork; else this.forks.push(fork);
  }

  fillForks() {
    const { ui } = this;
    const what = (fork) => `chunk ${fork.chunk + 1}, ${fork.source === "edit" ? "edited" : `policy, T ${fork.temperature}, seed ${fork.seed}`}`;
    const entry = (fork) => el("li", {}, el("button", { type: "button", class: "wovr-button", "aria-pressed": String(this.shown?.id === fork.id), dataset: { fork: fork.id }, title: fork.id, onclick: () => this.show(fork.id, "original") },
      el("span", { text: what(fork) }), el("span", { class: `wovr-chip ${fork.imagined_success ? "imagined" : ""}`, text: `p ${fixed(fork.p_success)}` }),
      fork.real_success === null ? null : el("span", { class: `wovr-chip ${fork.real_success ? "good" : "warn"}`, text: fork.real_success ? "real success" : "no real success" }),
      fork.kept ? el("span", { class: "wovr-chip accent", text: "kept" }) : null));
    clear(ui.forks, el("li", {}, el("button", { type: "button", class: "wovr-button", "aria-pressed": String(!this.shown), dataset: { fork: "" }, text: "the original", onclick: () => this.showOriginal() })), this.forks.map(entry));
    ui.fork.hidden = !this.shown;
    if (!this.shown) return;
    const fork = this.shown, replayed = fork.real_success !== null;
    const agree = replayed && fork.real_success === fork.imagined_success;
    const act = (text, run, { name, never = false, main = false, title = "" } = {}) => el("button", { type: "button", class: `wovr-button${main ? " main" : ""}`, text, title, disabled: never || Boolean(this.job), dataset: { acts: never ? "never" : "now", name }, onclick: run });
    const cannot = this.rollout.simulator;
    clear(ui.fork,
      replayed ? el("p", { class: agree ? "" : "bad", text: `Imagined: ${fork.imagined_success ? "success" : "no success"}. In LIBERO: ${fork.real_success ? "success" : "no success"}. Largest difference ${fixed(fork.divergence, 1)} of 255.` })
        : el("p", { text: `Imagined: ${fork.imagined_success ? "success" : "no success"} (p at most ${fixed(fork.p_success)}). What would really happen is not known yet.` }),
      fork.prefix_difference > 0.5 ? el("p", { class: "small", text: `Imagined again, the chunks before the change differ from the original by ${fixed(fork.prefix_difference, 2)} of 255 on this machine; the original's are shown.` }) : null,
      cannot ? el("p", { class: "wovr-notice", text: cannot }) : null,
      el("div", { class: "wovr-acts" },
        replayed ? act(this.beside === "real" ? "Beside the original" : "Beside LIBERO", () => this.show(fork.id, this.beside === "real" ? "original" : "real"), { name: "beside" })
          : act("Execute in LIBERO", () => this.execute(), { name: "replay", never: !this.may || Boolean(cannot), main: true, title: "the same actions in the simulator, from the saved state" }),
        fork.kept ? act("Undo: take it back", () => this.settle("undo"), { name: "undo", never: !this.may }) : act("Keep in the run", () => this.settle("keep"), { name: "keep", never: !this.may, title: "as an ordinary rollout, in the gallery too" })));
  }

  async execute() {
    if (this.job) return;
    const id = this.shown.id;
    const done = await this.follows({ op: "replay", rollout: this.rollout.id, fork: id }, "executing", "actions");
    if (done) await this.show(done, "real");
  }

  async settle(op) {
    const answer = await this.question({ op, rollout: this.rollout.id, fork: this.shown.id });
    if (answer.error) { this.complain(answer.error); return; }
    this.ui.error.hidden = true;
    this.remember(answer.fork);
    this.shown = answer.fork;
    this.fillForks();
    announce(op === "keep" ? "kept in the run" : "taken back");
  }
}
