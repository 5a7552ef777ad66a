/* Page Robot: arm, watch, dead-man key, reset overlay, label, report.
 *
 * The key is a lease: while it is held, a word goes to the server every `key_every` seconds; the server counts each for
 * half a second. Whatever ends the words (release, focus lost, tab hidden, page gone, network cut) lets the arm hold.
 */

import { announce, answerTo, clear, el } from "./dom.js";

const LOOK = 140;  // ms between two live pictures
const PHASES = {
  idle: "Not armed", connecting: "Connecting", reset: "Set up the scene", running: "Running", label: "Was it solved?", ended: "Session ended",
};

export function mount({ element, props, ask }) {
  const host = element.querySelector(".wovr-page") ?? element;
  const page = new Page(host, props, ask);
  host.wovrRobot = page;
  return page;
}

class Page {
  constructor(host, props, ask) {
    Object.assign(this, { host, props, ask, hello: null, open: null, view: null, token: null, down: false, film: null });
    this.ends = new AbortController();
    clear(host, el("div", { class: "wovr-loading wide", text: "Looking for evaluations" }));
    this.listen();
    this.start();
  }

  async start() {
    const told = await this.call({ op: "hello" });
    if (told.error) { this.failed(told.error); return; }
    this.hello = told;
    this.view = told.view;
    const asked = new URLSearchParams(location.search).get("evaluation");
    const name = told.evaluations.some((e) => e.name === asked) ? asked : told.evaluations[0]?.name;
    if (name) await this.choose(name); else this.draw();
    this.watching ??= this.watch();  // "Look again" starts anew; one watch is enough
  }

  call(message) { return answerTo(message, this.ask); }

  failed(why) {
    clear(this.host, el("div", { class: "wovr-empty wide" }, el("h2", { text: "The page could not be loaded" }), el("p", { text: why }),
      el("div", { class: "wovr-acts" }, el("button", { class: "wovr-button main", type: "button", text: "Try again", onclick: () => this.start() }))));
  }

  async choose(name) {
    const told = await this.call({ op: "open", name });
    this.open = told.error ? { name, error: told.error } : told;
    const url = new URL(location.href);
    url.searchParams.set("evaluation", name);
    history.replaceState(history.state, "", url);
    this.draw();
  }

  // -- drawing

  draw() {
    const { hello, host } = this;
    host.dataset.state = hello.evaluations.length ? "ready" : "empty";
    const parts = [];
    if (!hello.robot) parts.push(this.unarmed());
    if (!hello.evaluations.length) { clear(host, parts, this.empty()); return; }
    const list = el("nav", { class: "list", "aria-label": "evaluations" }, el("h2", { text: "Evaluations" }),
      hello.evaluations.map((e) => el("button", { class: "wovr-button", type: "button", "aria-current": String(e.name === this.open?.name), onclick: () => this.choose(e.name) },
        el("span", { text: e.name }), el("span", { class: "wovr-chip", text: e.error ? "broken" : e.state === "open" ? `${e.ran}/${e.trials}` : e.state }), el("small", { text: e.error ?? e.task }))));
    this.ui = { desk: el("section", { class: "desk", "aria-label": "robot" }), trials: el("section", { class: "trials", "aria-label": "trials" }),
      film: el("section", { class: "film", "aria-label": "film", hidden: true }), note: el("div", { role: "alert" }) };
    const main = el("main", { style: "display:grid;gap:12px;min-width:0" }, this.ui.note, hello.robot ? this.ui.desk : null, this.ui.film, this.ui.trials);
    clear(host, parts, list, main);
    if (this.open?.error) { clear(this.ui.trials, el("div", { class: "wovr-error", text: this.open.error })); return; }
    if (hello.robot) this.drawDesk();
    this.drawTrials();
  }

  unarmed() {
    return el("div", { class: "wovr-notice wide" }, el("b", { text: "No robot. " }), "A robot is off unless this server was started with one, on this machine: ", el("code", { text: "wovr app --robot lab" }),
      " (the simulated lab). Evaluations can be looked at and labelled all the same.");
  }

  empty() {
    return el("div", { class: "wovr-empty wide" }, el("h2", { text: "No evaluation is planned yet" }),
      el("p", { text: "An evaluation is declared before its first trial: which policies, how many trials, which statistics. Who acts in which trial stays hidden until all labels are in." }),
      el("pre", { text: "wovr robot plan first --policy before=RUN/sft --policy after=RUN/rl_evolved --trials 30" }),
      el("p", { text: "To try it without any training: --policy a=scripted --policy b=clumsy" }),
      el("div", { class: "wovr-acts" }, el("button", { class: "wovr-button main", type: "button", text: "Look again", onclick: () => this.start() })));
  }

  drawDesk() {
    const ui = this.ui;
    ui.picture = el("img", { alt: "", hidden: true });
    ui.tag = el("span", { class: "wovr-chip tag", hidden: true });
    ui.none = el("span", { text: "The camera's picture appears once the robot is armed." });
    ui.phase = el("div", { class: "phase", role: "status", "aria-live": "polite" });
    ui.facts = el("div", { class: "facts" });
    ui.key = el("button", { class: "wovr-button key", type: "button", dataset: { down: "false" }, "aria-pressed": "false",
      onpointerdown: (event) => { if (event.button === 0) { ui.key.setPointerCapture?.(event.pointerId); this.press(true); } },
      onpointerup: () => this.press(false), onpointercancel: () => this.press(false), onlostpointercapture: () => this.press(false) });
    ui.acts = el("div", { class: "wovr-acts" });
    clear(ui.desk, el("div", { class: "camera" }, ui.none, ui.picture, ui.tag),
      el("div", { class: "steer" }, ui.phase, ui.facts, ui.key, ui.acts,
        el("p", { class: "small", text: "Only the arm's hardware stop is safety-rated. The key here is a lease over the network: let go, leave the tab or lose the connection, and within half a second the arm holds." })));
    this.refreshDesk();
  }

  refreshDesk() {
    const { ui, view, hello } = this;
    if (!ui?.phase || !view) return;
    const mine = this.token !== null;
    const text = view.error ? `Session ended: ${view.error}` : PHASES[view.phase];
    if (ui.phase.textContent !== text) { ui.phase.textContent = text; this.host.dataset.phase = view.phase; this.acts(); }
    this.host.dataset.phase = view.phase;
    const facts = [["trial", view.trial ? `${view.trial} of ${view.trials}` : "–"], ["condition", view.trial ? view.condition : "–"], ["step", view.step],
      ["likeness", view.similarity === null ? "–" : view.similarity.toFixed(3)], ["held by", view.holder || "–"]];
    clear(ui.facts, facts.map(([name, value]) => el("span", {}, `${name} `, el("b", { text: String(value) }))), view.last ? el("span", { text: view.last }) : null);
    ui.key.disabled = !mine || !["reset", "running", "label"].includes(view.phase);
    ui.key.textContent = this.down ? "Held: the arm may move" : "Dead-man key: hold the space bar (or this button) while the arm moves";
    ui.key.dataset.down = String(this.down);
    ui.key.setAttribute("aria-pressed", String(this.down));
    if (this.armed !== mine || this.shownTrial !== view.trial) { this.armed = mine; this.shownTrial = view.trial; this.acts(); }
    ui.key.hidden = !hello.may_arm;
  }

  acts() {
    const { ui, view, hello, token } = this;
    const button = (text, act, kind = "", more = {}) => el("button", { class: `wovr-button ${kind}`, type: "button", text, onclick: act, ...more });
    const now = [];
    if (!hello.may_arm) now.push(el("span", { class: "small", text: `Arming takes the role robot; you are ${hello.role}.` }));
    else if (!token && ["idle", "ended"].includes(view.phase)) {
      const over = this.open?.unblinded || this.open?.ended_early;
      now.push(button("Arm", () => this.arm(), "main", { disabled: Boolean(over) }), el("span", { class: "small", text: over ? "This evaluation is over." : `${hello.robot}: the arm will move only while you hold the key.` }));
    } else if (!token) now.push(el("span", { class: "small", text: `${view.holder} has the robot.` }));
    else {
      if (view.phase === "reset") now.push(button("Scene is as it should be: begin (Enter)", () => this.send("ready"), "main"));
      if (view.phase === "running") now.push(button("End this trial (a failure)", () => this.send("stop"), "danger"));
      if (view.phase === "label") now.push(button("Solved (Y)", () => this.judge(true), "main"), button("Not solved (N)", () => this.judge(false), "main"), button("Later (L)", () => this.send("go_on")));
      now.push(button("Disarm", () => this.disarm()));
    }
    clear(ui.acts, now);
  }

  drawTrials() {
    const { open, ui, hello } = this;
    const blind = open.unblinded === null;
    const word = (label) => label === null ? "" : label.success === null ? `labelled by ${label.by}` : `${label.success ? "solved" : "not solved"} (${label.by})`;
    const rows = open.trials.map((t) => {
      const acts = [];
      if (t.film) acts.push(el("button", { class: "wovr-button plain", type: "button", text: "film", "aria-label": `film of trial ${t.number}`, onclick: () => this.showFilm(t) }));
      if (blind && t.how && !t.excluded && hello.may_operate) acts.push(el("button", { class: "wovr-button plain", type: "button", text: "exclude", "aria-label": `exclude trial ${t.number}`, onclick: () => this.exclude(t) }));
      return el("tr", { dataset: { trial: t.number } }, el("td", { text: String(t.number) }), el("td", { text: String(t.condition) }),
        el("td", {}, el("span", { class: `wovr-chip ${t.how === "safety_abort" || t.how === "fault" ? "bad" : ""}`, text: t.excluded ? "excluded" : (t.how || t.stage).replace("_", " "), title: t.excluded?.why ?? t.why })),
        el("td", { text: t.attempts ? String(t.attempts) : "" }), el("td", { text: word(t.operator) }), el("td", { text: word(t.video) || (t.second && blind && t.how === "finished" ? "wanted" : "") }),
        blind ? null : el("td", { text: t.policy }), el("td", {}, acts));
    });
    const left = open.missing.length;
    const end = blind ? [
      el("span", { class: "small", text: left ? `${left} left before names may be known: ${open.missing[0]}${left > 1 ? ", …" : ""}` : "All labels are in." }),
      hello.may_operate ? el("button", { class: "wovr-button", type: "button", text: "Unblind", disabled: left > 0, onclick: () => this.unblind() }) : null,
    ] : [
      el("span", { text: `Unblinded by ${open.unblinded.by}.` }),
      hello.may_operate ? el("button", { class: "wovr-button main", type: "button", text: "Write the report", onclick: () => this.report() }) : null,
      open.report ? el("a", { href: `${this.props.prefix}/report/${encodeURIComponent(open.name)}/`, target: "_blank", text: "Open the report" }) : null,
    ];
    clear(ui.trials, el("div", { class: "wovr-card" },
      el("h2", { text: open.name }), el("p", { class: "small", text: `“${open.task}” on ${open.robot}; ${open.policies.join(" and ")}, ${open.per_policy} trials each (${open.design}); plan ${open.digest.slice(0, 12)}…, newest record ${open.head.slice(0, 12)}…` }),
      el("div", { class: "wovr-acts", style: "margin:8px 0" }, end),
      el("table", { class: "wovr-table" }, el("thead", {}, el("tr", {}, ["trial", "condition", "state", "attempts", "operator", "from the film", ...(blind ? [] : ["policy"]), ""].map((text) => el("th", { text })))), el("tbody", {}, rows))));
  }

  showFilm(trial) {
    const { ui, open, hello } = this;
    this.film = trial;
    const video = el("video", { controls: true, muted: true, src: `${this.props.prefix}/film/${encodeURIComponent(open.name)}/${trial.number}`, "aria-label": `film of trial ${trial.number}` });
    const note = el("input", { class: "wovr-input", placeholder: "what was seen", "aria-label": "note", maxlength: 500 });
    const give = async (success) => { if (await this.act({ op: "label", name: open.name, trial: trial.number, success, video: true, note: note.value })) { ui.film.hidden = true; await this.choose(open.name); } };
    const mine = trial.operator?.by === hello.user;
    const may = open.unblinded === null && hello.may_label && trial.operator && !mine && trial.how === "finished";
    const why = open.unblinded ? "Labels are closed." : mine ? "You labelled this trial as operator: the second label is another person's." : !trial.operator ? "The operator labels first." : "";
    clear(ui.film, el("div", { class: "wovr-card" }, el("h2", { text: `Trial ${trial.number}, from the film` }), video,
      may ? el("div", { class: "wovr-acts", style: "margin-top:8px" }, note, el("button", { class: "wovr-button main", type: "button", text: "Solved", onclick: () => give(true) }), el("button", { class: "wovr-button main", type: "button", text: "Not solved", onclick: () => give(false) })) : el("p", { class: "small", text: why }),
      el("button", { class: "wovr-button plain", type: "button", text: "Close", onclick: () => { ui.film.hidden = true; } })));
    ui.film.hidden = false;
    ui.film.scrollIntoView({ block: "nearest" });
  }

  // -- acting

  async act(message) {
    const told = await this.call(message);
    clear(this.ui.note, told.error ? el("div", { class: "wovr-error", text: told.error }) : null);
    if (told.error) announce(told.error, true);
    return told.error ? null : told;
  }

  async arm() {
    const told = await this.act({ op: "arm", name: this.open.name });
    if (!told) return;
    this.token = told.token;
    this.words();
  }

  send(op) { return this.token ? this.act({ op, token: this.token }) : null; }

  async disarm() { await this.send("disarm"); }

  async judge(success) {
    if (await this.act({ op: "label", name: this.open.name, trial: this.view.trial, success })) await this.send("go_on");
  }

  async exclude(trial) {
    const why = window.prompt(`Leave trial ${trial.number} out of the counts? It stays in the report with this reason:`);
    if (why && await this.act({ op: "exclude", name: this.open.name, trial: trial.number, why })) await this.choose(this.open.name);
  }

  async unblind() {
    if (window.confirm("Open the envelope? Labels and exclusions are closed from then on.") && await this.act({ op: "unblind", name: this.open.name })) await this.choose(this.open.name);
  }

  async report() {
    if (await this.act({ op: "report", name: this.open.name })) await this.choose(this.open.name);
  }

  // -- the key, and the words that say it is down

  press(down) {
    if (down === this.down || (down && this.token === null)) return;
    this.down = down;
    this.word();  // at once: a release does not wait for the next word's turn
    this.refreshDesk();
  }

  listen() {
    const signal = this.ends.signal;
    const typing = (target) => target instanceof HTMLElement && (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT", "VIDEO"].includes(target.tagName));
    addEventListener("keydown", (event) => {
      if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey || this.token === null) return;
      if (event.code === "Space") { event.preventDefault(); if (!event.repeat) this.press(true); }
      else if (event.repeat) return;
      else if (event.key === "Enter" && this.view?.phase === "reset" && !(event.target instanceof HTMLButtonElement && !event.target.classList.contains("key"))) { event.preventDefault(); this.send("ready"); }
      else if (this.view?.phase === "label" && ["y", "n"].includes(event.key)) this.judge(event.key === "y");
      else if (this.view?.phase === "label" && event.key === "l") this.send("go_on");
    }, { signal });
    addEventListener("keyup", (event) => { if (event.code === "Space") { if (this.token !== null && !typing(event.target)) event.preventDefault(); this.press(false); } }, { signal });
    for (const name of ["blur", "pagehide"]) addEventListener(name, () => this.press(false), { signal });
    document.addEventListener("visibilitychange", () => { if (document.hidden) this.press(false); }, { signal });
  }

  words() {
    clearInterval(this.beating);
    this.beating = setInterval(() => this.word(), Math.max(100, this.hello.key_every * 1000));
    this.word();
  }

  async word() {
    const token = this.token;
    if (token === null) return;
    const number = this.sent = (this.sent ?? 0) + 1;
    let told;
    try {
      const answer = await fetch(`${this.props.prefix}/word`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ token, key: this.down }), signal: AbortSignal.timeout(2000) });
      told = await answer.json();
    } catch {
      this.silent = true;
      clear(this.ui.note, el("div", { class: "wovr-error", text: "The server does not answer: the arm holds." }));
      return;
    }
    if (this.silent) { this.silent = false; clear(this.ui.note); }
    if (number < (this.heard ?? 0) || token !== this.token) return;  // an answer that was overtaken
    this.heard = number;
    if (told.view) this.seen(told.view);
    if (told.error || ["ended", "idle"].includes(told.view?.phase)) this.lost(told.error);
  }

  lost(why) {
    clearInterval(this.beating);
    this.token = null;
    this.down = false;
    if (why && !this.view?.error && this.view?.phase !== "ended") clear(this.ui.note, el("div", { class: "wovr-error", text: why }));
    this.refreshDesk();
    this.choose(this.open.name);
  }

  seen(view) {
    const before = this.view;
    this.view = view;
    this.refreshDesk();
    if (before && (before.phase !== view.phase || before.trial !== view.trial)) {
      announce(PHASES[view.phase]);
      this.reread();
    }
  }

  async reread() {
    const told = await this.call({ op: "open", name: this.open.name });
    if (!told.error && told.name === this.open.name) { this.open = told; this.drawTrials(); }
  }

  /** Pictures while there are any; and, for those who only watch, the desk's state. */
  async watch() {
    while (this.host.isConnected) {
      await new Promise((resolve) => setTimeout(resolve, this.token ? LOOK : 1000));
      if (!this.hello.robot || !this.ui?.picture) continue;
      if (this.token === null) {
        const told = await this.call({ op: "hello" });
        if (!told.error && told.view) { this.hello = { ...this.hello, evaluations: told.evaluations }; this.seen(told.view); }
      }
      const view = this.view;
      const live = ["reset", "running", "label"].includes(view?.phase);
      if (live && view.picture !== this.pictured) await this.show(view);
    }
    this.ends.abort();
    clearInterval(this.beating);
  }

  async show(view) {
    const over = view.phase === "reset";
    const { ui } = this;
    const loaded = new Image();
    loaded.src = `${this.props.prefix}/${over ? "overlay" : "live"}.png?${view.picture}`;
    try { await loaded.decode(); } catch { return; }
    this.pictured = view.picture;
    ui.picture.src = loaded.src;
    ui.picture.hidden = false;
    ui.picture.alt = over ? "The initial picture over the live one: what should be there is red, what is there is cyan" : "The camera's live picture";
    ui.none.hidden = true;
    ui.tag.hidden = false;
    ui.tag.textContent = over ? "red: should be · cyan: is" : "live";
  }
}
