/* Launch a job, watch jobs: one dependency-free module, in the app's page Train and in notebooks.
 *
 * `ask(message)` carries a question of workbench/launching/desk.py and resolves to its answer. Nothing here is
 * trusted there. Texts of the server reach the page through textContent and attributes alone.
 */

const POLL = { running: 1200, quiet: 6000, list: 2500 };
const ENDED = new Set(["succeeded", "failed", "cancelled", "lost"]);
const TONES = { running: "accent", succeeded: "good", failed: "bad", lost: "bad", cancelled: "warn" };

/** An element: `text` becomes textContent, on* a listener, everything else an attribute. */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value") node.value = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const plural = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "not known";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

const megabytes = (mb) => (mb === null || mb === undefined ? "not known" : mb < 1500 ? `${Math.round(mb).toLocaleString("en")} MB` : `${(mb / 1000).toFixed(1)} GB`);
const debounced = (act, ms) => { let timer; return (...values) => { clearTimeout(timer); timer = setTimeout(() => act(...values), ms); }; };
const chip = (state) => h("span", { class: `wovr-chip ${TONES[state] ?? ""}`, text: state });

export function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** An answer, or {error} where the server is gone. */
export async function asked(ask, message) {
  try {
    const answer = await ask(message);
    if (answer && typeof answer === "object") return answer;
    return { error: "the server did not answer as it should", gone: true };
  } catch (error) {
    return { error: `the server cannot be reached (${error?.message ?? error}); is it still running?`, gone: true };
  }
}

const when = (seconds) => new Date(seconds * 1000).toLocaleString([], { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });

// ------------------------------------------------------------------------------------------------ form

/** The launch form. `initial`: a draft to begin with; `changed(draft)` hears of every edit, `launched(job)` of a job. */
export class LaunchForm {
  constructor(host, { ask, initial = {}, changed = () => {}, launched = () => {}, signal }) {
    Object.assign(this, { host, ask, changed, launched, signal });
    const now = new Date(), two = (n) => String(n).padStart(2, "0");
    this.stamp = `${two(now.getMonth() + 1)}${two(now.getDate())}-${two(now.getHours())}${two(now.getMinutes())}`;
    this.draft = { recipe: "demo", kind: "pipeline", run: "", changes: [], resources: {}, priority: 0, retries: 0, ...initial };
    this.own = Boolean(initial.run);
    this.key = randomKey();
    this.info = new Map();
    this.turn = 0;
    this.checkSoon = debounced(() => this.check(), 250);
    host.replaceChildren(h("div", { class: "wovr-loading", role: "status", text: "Reading the recipes …" }));
    this.start();
  }

  async start() {
    const setup = await asked(this.ask, { ask: "setup" });
    if (setup.error) { this.dead(setup.error, () => this.start()); return; }
    this.setup = setup;
    if (!setup.recipes.some((r) => r.name === this.draft.recipe)) this.draft.recipe = setup.recipes[0].name;
    if (!setup.kinds.some((k) => k.name === this.draft.kind)) this.draft.kind = setup.kinds[0].name;
    this.build();
    await this.learn(this.draft.changes.map((change) => change.key));
    this.fillChanges();
    this.check();
  }

  dead(why, again) {
    this.host.replaceChildren(h("div", { class: "wovr-error", role: "alert" }, h("p", { text: why }), h("button", { type: "button", class: "wovr-button", text: "Try again", onclick: again })));
  }

  field(name, title, control, hint = null) {
    const id = `wovr-field-${name.replaceAll(".", "-")}-${this.key.slice(0, 6)}`;
    control.id = id;
    control.dataset.field = name;
    control.setAttribute("aria-describedby", `${id}-error`);
    return h("div", { class: "wovr-field" }, h("label", { for: id, text: title }), control, hint, h("div", { class: "wovr-why", id: `${id}-error`, "data-error": name, role: "alert" }));
  }

  build() {
    const { draft, setup } = this, ui = (this.ui = {});
    const option = (item) => h("option", { value: item.name, text: item.name });
    ui.recipe = h("select", { class: "wovr-select", onchange: () => { this.set({ recipe: ui.recipe.value }); this.reset(); } }, setup.recipes.map(option));
    ui.kind = h("select", { class: "wovr-select", onchange: () => { this.set({ kind: ui.kind.value }); this.told(); } }, setup.kinds.map(option));
    ui.recipe.value = draft.recipe; ui.kind.value = draft.kind;
    ui.run = h("input", { class: "wovr-input", value: "", maxlength: 80, spellcheck: "false", autocomplete: "off", oninput: () => { this.own = true; this.set({ run: ui.run.value }); } });
    ui.what = h("div", { class: "wovr-hint" });
    ui.search = h("input", { class: "wovr-input", type: "search", placeholder: "search all options: learning rate, rl.groups …", role: "combobox", "aria-expanded": "false", "aria-autocomplete": "list", "aria-label": "search options to change", autocomplete: "off", spellcheck: "false",
      oninput: debounced(() => this.look(), 120), onkeydown: (event) => this.searchKey(event), onfocus: () => this.look(), onblur: () => setTimeout(() => this.closeSearch(), 150) });
    ui.found = h("ul", { class: "wovr-found", role: "listbox", "aria-label": "options", hidden: true, id: `wovr-found-${this.key.slice(0, 6)}` });
    ui.search.setAttribute("aria-controls", ui.found.id);
    ui.changes = h("div", { class: "wovr-changes" });
    const number = (name, value, low, high) => h("input", { class: "wovr-input", inputmode: "numeric", value: String(value), "data-low": low, "data-high": high, oninput: (event) => this.number(name, event.target.value) });
    ui.cores = number("resources.cores", "", 1); ui.memory = number("resources.memory_mb", "", 1); ui.gpus = number("resources.gpus", 0, 0);
    ui.priority = number("priority", draft.priority, -100, 100); ui.retries = number("retries", draft.retries, 0, 10);
    ui.preflight = h("section", { class: "wovr-preflight", "aria-label": "preflight", "aria-live": "polite" });
    ui.whole = h("div", { class: "wovr-why", "data-error": "", role: "alert" });
    ui.launch = h("button", { type: "submit", class: "wovr-button main", text: "Launch" });
    ui.again = h("button", { type: "button", class: "wovr-button", text: "Launch the same again", hidden: true, onclick: () => { this.fresh(); this.send(); } });
    ui.state = h("span", { class: "wovr-hint", role: "status" });
    const form = h("form", { class: "wovr-launch", novalidate: true, autocomplete: "off", "aria-label": "launch a job", onsubmit: (event) => { event.preventDefault(); this.send(); } },
      h("div", { class: "wovr-two" }, this.field("recipe", "Recipe", ui.recipe), this.field("kind", "Stage, or the whole pipeline", ui.kind)), ui.what,
      this.field("run", "Run", ui.run),
      h("fieldset", {}, h("legend", { text: "Changed options" }), h("div", { class: "wovr-search" }, ui.search, ui.found), ui.changes, h("div", { class: "wovr-why", "data-error": "changes", role: "alert" })),
      h("details", { open: Boolean(draft.priority || draft.retries) }, h("summary", { text: "Resources and order" }),
        h("div", { class: "wovr-three" }, this.field("resources.cores", "cores", ui.cores), this.field("resources.memory_mb", "memory (MB)", ui.memory), this.field("resources.gpus", "GPUs", ui.gpus)),
        h("div", { class: "wovr-three" }, this.field("priority", "priority (-100 to 100)", ui.priority), this.field("retries", "retries after a failure", ui.retries))),
      ui.preflight, ui.whole, h("div", { class: "wovr-acts" }, ui.launch, ui.again, ui.state));
    form.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.send(); } event.stopPropagation(); });
    this.host.replaceChildren(form);
    this.form = form;
    this.reset(true);
    this.told();
    if (!setup.may_launch) {
      ui.launch.disabled = true;
      ui.state.textContent = `${setup.user} may look, but not launch: that takes the role operator.`;
    }
  }

  reset(first = false) {
    const { draft, ui } = this, recipe = this.setup.recipes.find((r) => r.name === draft.recipe);
    const given = first ? draft.resources : {};
    draft.resources = { ...recipe.resources, ...given };
    ui.cores.value = draft.resources.cores; ui.memory.value = draft.resources.memory_mb; ui.gpus.value = draft.resources.gpus;
    if (!this.own) draft.run = `${draft.recipe}-${this.stamp}`;
    ui.run.value = draft.run;
    if (!first) this.learn(draft.changes.map((change) => change.key)).then(() => this.fillChanges());
    this.told();
  }

  told() {
    const named = (list, name) => list.find((item) => item.name === name)?.help ?? "";
    this.ui.what.textContent = `${this.draft.recipe}: ${named(this.setup.recipes, this.draft.recipe)} ${this.draft.kind}: ${named(this.setup.kinds, this.draft.kind)}.`;
  }

  number(name, text) {
    const part = name.split(".").pop();
    this.set(name.startsWith("resources.") ? { resources: { ...this.draft.resources, [part]: text } } : { [part]: text });
  }

  set(part) {
    Object.assign(this.draft, part);
    this.fresh();
    this.changed(this.draft);
    this.checkSoon();
  }

  /** Another launch than the one before, if there was one. */
  fresh() {
    if (!this.sent) return;
    this.sent = null;
    this.key = randomKey();
    this.ui.launch.disabled = !this.setup.may_launch;
    this.ui.launch.textContent = "Launch";
    this.ui.again.hidden = true;
    this.ui.state.textContent = "";
  }

  // -- options

  async learn(keys) {
    const unknown = keys.filter((key) => !this.info.has(`${this.draft.recipe}:${key}`));
    if (!unknown.length) return;
    const recipe = this.draft.recipe, answer = await asked(this.ask, { ask: "options", recipe, keys: unknown });
    for (const item of answer.options ?? []) this.info.set(`${recipe}:${item.key}`, item);
  }

  async look() {
    const text = this.ui.search.value.trim(), recipe = this.draft.recipe, turn = ++this.turn;
    const answer = await asked(this.ask, { ask: "options", recipe, text });
    if (turn !== this.turn || document.activeElement !== this.ui.search && this.ui.search.getRootNode().activeElement !== this.ui.search) return;
    const { found, search } = this.ui;
    if (answer.error) { found.replaceChildren(h("li", { class: "none", text: answer.error })); found.hidden = false; return; }
    this.results = answer.options;
    for (const item of answer.options) this.info.set(`${recipe}:${item.key}`, item);
    this.at = answer.options.length && text ? 0 : -1;
    const taken = new Set(this.draft.changes.map((change) => change.key));
    found.replaceChildren(...answer.options.map((item, i) => h("li", { role: "option", id: `${found.id}-${i}`, "aria-selected": i === this.at ? "true" : "false", class: taken.has(item.key) ? "taken" : "", onmousedown: (event) => { event.preventDefault(); this.add(item.key); } },
      h("div", {}, h("b", { text: item.key }), h("span", { text: `${item.type}, default ${item.default || "(empty)"}` })), h("p", { text: item.help }))));
    if (!answer.options.length) found.append(h("li", { class: "none", text: `no option of ${recipe} is about “${text}”` }));
    found.hidden = false;
    search.setAttribute("aria-expanded", "true");
    this.mark();
  }

  mark() {
    const { found, search } = this.ui;
    [...found.children].forEach((node, i) => node.setAttribute("aria-selected", i === this.at ? "true" : "false"));
    const node = found.children[this.at];
    if (node?.id) { search.setAttribute("aria-activedescendant", node.id); node.scrollIntoView({ block: "nearest" }); } else search.removeAttribute("aria-activedescendant");
  }

  closeSearch() {
    this.ui.found.hidden = true;
    this.ui.search.setAttribute("aria-expanded", "false");
  }

  searchKey(event) {
    const n = this.results?.length ?? 0;
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (this.ui.found.hidden) { this.look(); return; }
      if (n) this.at = (this.at + (event.key === "ArrowDown" ? 1 : n - 1) + (this.at < 0 && event.key === "ArrowUp" ? 1 : 0)) % n;
      this.mark();
    } else if (event.key === "Enter" && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      const item = this.results?.[this.at];
      if (item && !this.ui.found.hidden) this.add(item.key);
    } else if (event.key === "Escape") { this.closeSearch(); event.stopPropagation(); }
  }

  add(key) {
    const { draft, ui } = this;
    if (!draft.changes.some((change) => change.key === key)) {
      const info = this.info.get(`${draft.recipe}:${key}`);
      this.set({ changes: [...draft.changes, { key, value: info?.default ?? "" }] });
      this.fillChanges();
    }
    ui.search.value = "";
    this.closeSearch();
    const input = [...ui.changes.querySelectorAll("[data-field]")].find((node) => node.dataset.field === `changes.${key}`);
    input?.focus();
    input?.select?.();
  }

  fillChanges() {
    const { draft, ui } = this;
    ui.changes.replaceChildren(...draft.changes.map((change) => {
      const info = this.info.get(`${draft.recipe}:${change.key}`);
      const edit = (event) => { change.value = event.target.value; this.set({}); };
      let control;
      if (info?.choices.length || info?.type.startsWith("yes or no")) {
        control = h("select", { class: "wovr-select", onchange: edit }, (info.choices.length ? info.choices : ["true", "false"]).map((value) => h("option", { value, text: value })));
        if (change.value !== "" && ![...control.options].some((o) => o.value === change.value)) control.append(h("option", { value: change.value, text: change.value }));
        control.value = change.value;
      } else control = h("input", { class: "wovr-input", value: change.value, spellcheck: "false", oninput: edit });
      const remove = h("button", { type: "button", class: "wovr-button plain", "aria-label": `do not change ${change.key}`, title: "remove", text: "×",
        onclick: () => { this.set({ changes: draft.changes.filter((other) => other !== change) }); this.fillChanges(); ui.search.focus(); this.closeSearch(); } });
      const hint = h("div", { class: "wovr-hint", text: info ? `${info.type}, default ${info.default || "(empty)"}. ${info.help}` : "" });
      return h("div", { class: "wovr-change" }, this.field(`changes.${change.key}`, change.key, control, hint), remove);
    }));
    if (!draft.changes.length) ui.changes.append(h("p", { class: "wovr-hint", text: "None: the recipe as it is." }));
  }

  // -- preflight and launch

  async check() {
    const turn = (this.checking = (this.checking ?? 0) + 1);
    this.ui.preflight.classList.add("stale");
    const answer = await asked(this.ask, { ask: "check", draft: this.draft });
    if (turn !== this.checking) return;
    this.ui.preflight.classList.remove("stale");
    this.show(answer.fields ?? (answer.error ? { "": answer.error } : {}));
    this.plan(answer.preflight, answer.command);
  }

  /** Errors at their fields. */
  show(fields) {
    const left = new Map(Object.entries(fields));
    for (const node of this.form.querySelectorAll("[data-error]")) {
      const text = left.get(node.dataset.error) ?? "";
      left.delete(node.dataset.error);
      if (node.textContent !== text) node.textContent = text;
    }
    for (const node of this.form.querySelectorAll("[data-field]")) {
      if (fields[node.dataset.field]) node.setAttribute("aria-invalid", "true"); else node.removeAttribute("aria-invalid");
    }
    if (left.size) this.ui.whole.textContent = [this.ui.whole.textContent, ...left.values()].filter(Boolean).join("; ");
    if (Object.keys(fields).some((name) => name.startsWith("resources") || name === "priority" || name === "retries")) this.form.querySelector("details").open = true;
  }

  plan(found, command) {
    const box = this.ui.preflight;
    this.form.dataset.ready = found && !found.refusals.length ? "yes" : "no";
    if (!found) { box.replaceChildren(h("p", { class: "wovr-hint", text: "The preflight follows once the fields are right." })); return; }
    const counts = { run: 0, resumed: 0, kept: 0, refused: 0 };
    for (const stage of found.stages) counts[stage.plan] = (counts[stage.plan] ?? 0) + 1;
    const unknown = found.unknown.length && found.seconds !== null ? `, without ${found.unknown.join(", ")} (not measured here yet)` : "";
    const fact = (name, text) => [h("dt", { text: name }), h("dd", { text })];
    const touched = found.exists ? `the run is there: ${plural(counts.kept, "finished stage")} kept, ${counts.resumed} resumed, ${counts.run} new; nothing is overwritten` : "a new run; nothing is overwritten";
    box.replaceChildren(h("h3", { text: "Before the launch" }),
      ...found.refusals.map((text) => h("div", { class: "wovr-error", role: "alert" }, h("b", { text: "Cannot be: " }), text)),
      ...found.warnings.map((text) => h("div", { class: "wovr-notice", text })),
      h("dl", {}, fact("time here", duration(found.seconds) + unknown), fact("memory", `${megabytes(found.memory_mb)} (${found.memory_basis})`),
        fact("disk", `${megabytes(found.disk_mb)}; ${megabytes(found.free_disk_mb)} free`), fact("writes to", touched)),
      found.stages.length ? h("details", { class: "wovr-stages" }, h("summary", { text: plural(found.stages.length, "stage") }), h("table", { class: "wovr-table" }, h("tbody", {}, found.stages.map((stage) => h("tr", { "data-plan": stage.plan },
        h("td", { text: stage.name }), h("td", {}, h("span", { class: `wovr-chip ${{ kept: "good", refused: "bad", resumed: "accent" }[stage.plan] ?? ""}`, text: stage.plan })), h("td", { class: "number", text: stage.plan === "kept" ? "" : duration(stage.seconds) }), h("td", { class: "wovr-hint", text: stage.basis })))))) : null,
      command ? h("details", {}, h("summary", { text: "The same in a terminal" }), h("pre", { text: command })) : null);
  }

  async send() {
    const { ui } = this;
    if (this.sending || this.sent || !this.setup.may_launch) return;
    this.sending = true;
    ui.launch.disabled = true;
    ui.state.textContent = "Launching …";
    const answer = await asked(this.ask, { ask: "launch", draft: this.draft, key: this.key });
    this.sending = false;
    if (answer.error) {
      ui.launch.disabled = false;  // with the same key: if it did arrive, it is one job all the same
      ui.state.textContent = "";
      this.show(answer.fields ?? { "": answer.error });
      const wrong = this.form.querySelector("[aria-invalid=true]");
      wrong?.focus();
      return;
    }
    this.sent = answer.job.id;
    ui.launch.textContent = "Launched";
    ui.state.textContent = `Handed in as job ${answer.job.id}.`;
    ui.again.hidden = false;
    this.launched(answer.job);
    this.check();
  }
}

// ------------------------------------------------------------------------------------------------ list

/** All jobs, the newest first; `open(id)` hears of a choice. */
export class JobList {
  constructor(host, { ask, open, signal, filter = () => true, columns = null, empty = null }) {
    Object.assign(this, { host, ask, open, filter, columns, empty });
    host.replaceChildren(h("div", { class: "wovr-loading", role: "status", text: "Looking for jobs …" }));
    this.refresh();
    const timer = setInterval(() => { if (!host.isConnected) clearInterval(timer); else if (!document.hidden) this.refresh(); }, POLL.list);
    signal?.addEventListener("abort", () => clearInterval(timer));
  }

  select(id) {
    this.selected = id;
    for (const row of this.host.querySelectorAll("tr[data-job]")) row.setAttribute("aria-selected", row.dataset.job === id ? "true" : "false");
  }

  async refresh() {
    if (this.busy) return;
    this.busy = true;
    const answer = await asked(this.ask, { ask: "jobs" });
    this.busy = false;
    if (answer.error) {
      if (!this.host.querySelector("table")) this.host.replaceChildren(h("div", { class: "wovr-error", role: "alert", text: answer.error }));
      this.host.dataset.state = "error";
      return;
    }
    this.host.dataset.state = "ready";
    const jobs = answer.jobs.filter(this.filter), text = JSON.stringify(jobs);
    if (text === this.shown) { this.times(jobs); return; }
    this.shown = text;
    if (!jobs.length) {
      this.host.replaceChildren(this.empty ?? h("div", { class: "wovr-empty" }, h("h2", { text: "No job yet" }), h("p", { text: "Launch one with the form, or in a terminal:" }), h("pre", { text: "wovr jobs submit pipeline --recipe demo" })));
      return;
    }
    const focused = this.host.getRootNode().activeElement?.closest?.("tr[data-job]")?.dataset.job;
    this.host.replaceChildren(h("table", { class: "wovr-table wovr-jobs" }, h("thead", {}, h("tr", {}, ["state", "what", "run", "by", "since", "took"].map((text) => h("th", { scope: "col", text })))),
      h("tbody", {}, jobs.map((job) => this.row(job)))));
    this.times(jobs);
    this.select(this.selected);
    if (focused) this.host.querySelector(`tr[data-job="${CSS.escape(focused)}"]`)?.focus();
  }

  row(job) {
    const act = () => this.open(job.id);
    const place = job.position ? ` #${job.position}` : "";
    return h("tr", { "data-job": job.id, tabindex: 0, "aria-label": `job ${job.id}, ${job.state}`, onclick: act, onkeydown: (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); }
      const next = event.key === "ArrowDown" ? event.currentTarget.nextElementSibling : event.key === "ArrowUp" ? event.currentTarget.previousElementSibling : null;
      if (next) { event.preventDefault(); next.focus(); }
    } }, h("td", {}, chip(job.state), place ? h("span", { class: "wovr-hint", title: "place in the queue", text: place }) : null), h("td", { text: [job.kind, job.recipe].filter(Boolean).join(" · ") }), h("td", { text: job.run }),
    h("td", { text: job.user || "terminal" }), h("td", { text: when(job.submitted_at) }), h("td", { "data-took": job.id }));
  }

  times(jobs) {
    for (const job of jobs) {
      const cell = this.host.querySelector(`[data-took="${CSS.escape(job.id)}"]`);
      const text = job.started_at ? duration((job.ended_at ?? Date.now() / 1000) - job.started_at) : "";
      if (cell && cell.textContent !== text) cell.textContent = text;
    }
  }
}

// ------------------------------------------------------------------------------------------------- one

/** One job: state, progress, curves, log, cancel, retry. `plotly()` resolves to Plotly, else curves are drawn plainly. */
export class JobPanel {
  constructor(host, { ask, id, plotly = null, signal, again = null, acted = () => {} }) {
    Object.assign(this, { host, ask, id, plotly, again, acted, offset: null, digest: "", log: "", curves: [], picked: null });
    host.dataset.job = id;
    host.replaceChildren(h("div", { class: "wovr-loading", role: "status", text: `Opening job ${id} …` }));
    signal?.addEventListener("abort", () => this.stop());
    this.poll();
  }

  stop() { this.stopped = true; clearTimeout(this.timer); }

  async poll() {
    clearTimeout(this.timer);
    if (this.stopped) return;
    const answer = await asked(this.ask, { ask: "job", id: this.id, offset: this.offset, digest: this.digest });
    if (this.stopped || this.host.dataset.job !== this.id) return;
    if (answer.error) this.failed(answer); else this.show(answer);
    const live = answer.job && !ENDED.has(answer.job.state);
    if (answer.error && !answer.gone) return;  // there is no such job
    this.timer = setTimeout(() => this.poll(), live && !document.hidden ? POLL.running : POLL.quiet);
  }

  failed(answer) {
    if (this.ui) { this.ui.trouble.textContent = answer.error; this.ui.trouble.hidden = false; return; }
    this.host.dataset.state = "error";
    this.host.replaceChildren(h("div", { class: "wovr-empty" }, h("h2", { text: `Job ${this.id} cannot be shown` }), h("p", { text: answer.error })));
  }

  build() {
    const ui = (this.ui = {});
    ui.title = h("h2"); ui.state = h("span"); ui.why = h("span", { class: "wovr-hint" });
    ui.cancel = h("button", { type: "button", class: "wovr-button danger", text: "Cancel", onclick: () => this.act("cancel", "It stops after this step and checkpoints. Cancel it?") });
    ui.retry = h("button", { type: "button", class: "wovr-button", text: "Resume", onclick: () => this.act("retry") });
    ui.again = h("button", { type: "button", class: "wovr-button", text: "Use these settings", hidden: !this.again, onclick: () => this.again?.(this.job) });
    ui.trouble = h("div", { class: "wovr-error", role: "alert", hidden: true });
    ui.stages = h("ol", { class: "wovr-steps", "aria-label": "stages" });
    ui.bar = h("progress", { class: "wovr-progress", max: 1, "aria-label": "progress of this stage" });
    ui.told = h("div", { class: "wovr-hint", "aria-live": "off" });
    ui.tabs = h("div", { class: "wovr-tabs", role: "group", "aria-label": "curves of" });
    ui.plot = h("div", { class: "wovr-plot" });
    ui.log = h("pre", { class: "wovr-log", tabindex: 0, "aria-label": "log" });
    ui.facts = h("dl", { class: "wovr-facts" });
    this.host.replaceChildren(h("div", { class: "wovr-jobhead" }, ui.title, ui.state, ui.why, h("span", { class: "gap" }), ui.again, ui.retry, ui.cancel), ui.trouble, ui.stages, ui.bar, ui.told, ui.tabs, ui.plot, h("h3", { text: "Log" }), ui.log, h("details", {}, h("summary", { text: "What it is" }), ui.facts));
  }

  show(answer) {
    if (!this.ui) this.build();
    const { ui } = this, { job, progress, log } = answer, ended = ENDED.has(job.state);
    this.job = job;
    this.host.dataset.state = job.state;
    ui.trouble.hidden = true;
    ui.title.textContent = `${job.kind} ${job.recipe}`.trim() + ` in ${job.run}`;
    ui.state.replaceChildren(chip(job.state));
    const place = job.position ? `${job.position === 1 ? "next" : `number ${job.position}`} in the queue` : "";
    ui.why.textContent = [place, job.reason, job.attempt > 1 ? `attempt ${job.attempt}` : ""].filter(Boolean).join(" · ");
    ui.cancel.hidden = ended;
    ui.retry.hidden = !ended || job.state === "succeeded";
    ui.stages.replaceChildren(...answer.stages.map((stage) => {
      const now = stage.name === progress.stage && job.state === "running" && stage.state !== "done";
      return h("li", { class: now ? "now" : stage.state.replace(" ", "-"), "aria-current": now ? "step" : null, title: `${stage.name}: ${now ? "running" : stage.state}`, text: stage.name });
    }));
    ui.stages.hidden = answer.stages.length < 2;
    const fraction = job.state === "succeeded" ? 1 : progress.fraction;
    if (fraction === null && job.state === "running") ui.bar.removeAttribute("value"); else ui.bar.value = fraction ?? 0;
    const total = progress.total ? `step ${progress.step.toLocaleString("en")} of ${progress.total.toLocaleString("en")}` : progress.step ? `step ${progress.step}` : "";
    ui.told.textContent = [progress.stages > 1 ? `${progress.done} of ${progress.stages} stages done` : "", progress.stage && !ended ? [progress.stage, progress.phase].filter(Boolean).join(", ") : "", ended ? "" : total,
      progress.seconds_left !== null ? `about ${duration(progress.seconds_left)} left in this phase` : "", job.peak_memory_mb ? `peak memory ${megabytes(job.peak_memory_mb)}` : ""].filter(Boolean).join(" · ");
    if (answer.curves) { this.curves = answer.curves; this.digest = answer.digest; }
    if (answer.curves || this.at !== progress.stage) { this.at = progress.stage; this.draw(); }
    this.tail(log);
    this.tell(job);
  }

  tail(log) {
    const node = this.ui.log, end = node.scrollHeight - node.scrollTop - node.clientHeight < 30;
    this.offset = log.next;
    if (!log.text && !log.restarted && node.textContent) return;
    this.log = ((log.restarted ? "" : this.log) + log.text).slice(-60_000);
    node.textContent = this.log || "nothing printed yet";
    if (end) node.scrollTop = node.scrollHeight;
  }

  tell(job) {
    const rows = { job: job.id, "launched by": job.user || "a terminal", submitted: when(job.submitted_at), started: job.started_at ? when(job.started_at) : "", ended: job.ended_at ? when(job.ended_at) : "", "exit code": job.exit_code ?? "",
      reserves: Object.entries(job.resources).map(([k, v]) => `${k} ${v}`).join(", "), priority: job.priority || "", changes: job.changes.join("\n"), parameters: Object.entries(job.parameters).map(([k, v]) => `${k} = ${v}`).join("\n") };
    this.ui.facts.replaceChildren(...Object.entries(rows).filter(([, v]) => v !== "").flatMap(([k, v]) => [h("dt", { text: k }), h("dd", { text: String(v) })]));
  }

  async act(what, question = null) {
    if (question && !window.confirm(question)) return;
    const button = this.ui[what];
    button.disabled = true;
    const answer = await asked(this.ask, { ask: what, id: this.id });
    button.disabled = false;
    if (answer.error) this.failed(answer); else { this.acted(answer.job); this.poll(); }
  }

  // -- curves

  draw() {
    const keys = [...new Set(this.curves.map((curve) => `${curve.stage}\u0000${curve.phase}`))];
    const name = (key) => key.split("\u0000").filter(Boolean).join(" · ");
    const here = keys.filter((key) => key.startsWith(`${this.at}\u0000`));
    const chosen = keys.includes(this.picked) ? this.picked : here[here.length - 1] ?? keys[keys.length - 1];
    this.ui.tabs.replaceChildren(...keys.map((key) => h("button", { type: "button", class: "wovr-button", "aria-pressed": key === chosen ? "true" : "false", text: name(key), onclick: () => { this.picked = key; this.draw(); } })));
    this.ui.tabs.hidden = keys.length < 2;
    const curves = this.curves.filter((curve) => `${curve.stage}\u0000${curve.phase}` === chosen).filter((curve) => curve.steps.length > 1).slice(0, 12);
    this.ui.plot.hidden = !curves.length;
    if (curves.length) drawCurves(this.ui.plot, curves, this.plotly);
  }
}

/** Small multiples, one for each metric over its steps. */
export async function drawCurves(host, curves, plotly) {
  const style = getComputedStyle(host), colour = (name, other) => style.getPropertyValue(`--wovr-${name}`).trim() || other;
  const line = colour("accent", "#0b62c4"), muted = colour("muted", "#5d6678"), grid = colour("line", "#dcdfe6");
  const turn = (host.wovrTurn = (host.wovrTurn ?? 0) + 1);
  let Plotly = null;
  try { Plotly = plotly ? await plotly() : null; } catch { Plotly = null; }
  if (host.wovrTurn !== turn) return;
  const columns = Math.min(3, curves.length), rows = Math.ceil(curves.length / columns);
  if (Plotly) {
    const layout = { height: 30 + 128 * rows, margin: { l: 44, r: 8, t: 22, b: 24 }, grid: { rows, columns, pattern: "independent", xgap: 0.16, ygap: 0.42 }, showlegend: false, paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { size: 10, color: muted }, annotations: [] };
    const traces = curves.map((curve, i) => {
      const n = i ? i + 1 : "";
      for (const axis of ["xaxis", "yaxis"]) layout[axis + n] = { gridcolor: grid, zeroline: false, nticks: 4, tickfont: { size: 10 }, linecolor: grid };
      layout.annotations.push({ text: curve.name.replaceAll("<", "‹"), xref: `x${n} domain`, yref: `y${n} domain`, x: 0, y: 1.02, xanchor: "left", yanchor: "bottom", showarrow: false, font: { size: 11, color: muted } });
      return { x: curve.steps, y: curve.values, type: "scatter", mode: "lines", line: { width: 1.6, color: line }, xaxis: `x${n}`, yaxis: `y${n}`, hovertemplate: "step %{x}<br>%{y}<extra></extra>" };
    });
    await Plotly.react(host, traces, layout, { displayModeBar: false, responsive: true });
    return;
  }
  host.replaceChildren(h("div", { class: "wovr-minis" }, curves.map((curve) => mini(curve, line))));
}

function mini(curve, colour) {
  const ns = "http://www.w3.org/2000/svg", svg = document.createElementNS(ns, "svg"), path = document.createElementNS(ns, "polyline");
  const [low, high] = [Math.min(...curve.values), Math.max(...curve.values)], first = curve.steps[0], last = curve.steps[curve.steps.length - 1];
  const x = (step) => 2 + (196 * (step - first)) / Math.max(1e-9, last - first), y = (value) => 58 - (56 * (value - low)) / Math.max(1e-12, high - low);
  svg.setAttribute("viewBox", "0 0 200 60");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `${curve.name}: from ${curve.values[0].toPrecision(3)} to ${curve.values[curve.values.length - 1].toPrecision(3)}`);
  path.setAttribute("points", curve.steps.map((step, i) => `${x(step).toFixed(1)},${y(curve.values[i]).toFixed(1)}`).join(" "));
  for (const [name, value] of [["fill", "none"], ["stroke", colour], ["stroke-width", "1.5"], ["vector-effect", "non-scaling-stroke"]]) path.setAttribute(name, value);
  svg.append(path);
  return h("figure", {}, h("figcaption", {}, h("b", { text: curve.name }), h("span", { text: ` ${curve.values[curve.values.length - 1].toPrecision(4)}` })), svg);
}

// --------------------------------------------------------------------------------------------- notebook

/** anywidget: traits `job` (id or ""), `draft`, `form` (whether to show one). Questions and answers are messages. */
function render({ model, el }) {
  const ender = new AbortController(), waiting = new Map();
  let count = 0;
  const ask = (message) => new Promise((resolve, reject) => {
    const id = `${Date.now()}-${++count}`;
    const timer = setTimeout(() => { waiting.delete(id); reject(new Error("no answer within 60 s; is the kernel busy?")); }, 60_000);
    waiting.set(id, (answer) => { clearTimeout(timer); resolve(answer); });
    model.send({ kind: "ask", id, message });
  });
  const heard = (content) => { if (content?.kind === "answer") { waiting.get(content.id)?.(content.answer); waiting.delete(content.id); } };
  model.on("msg:custom", heard);
  const dark = document.body.dataset.jpThemeLight === "false" || (document.body.dataset.jpThemeLight === undefined && matchMedia("(prefers-color-scheme: dark)").matches);
  el.classList.add("wovr-page", "wovr-widget");
  el.classList.toggle("dark", dark);
  for (const name of ["keydown", "keyup", "keypress"]) el.addEventListener(name, (event) => event.stopPropagation(), { signal: ender.signal });
  const form = h("div", { class: "wovr-card" }), panel = h("div", { class: "wovr-card wovr-job", hidden: true });
  let shown = null;
  const open = () => {
    const id = model.get("job");
    shown?.stop();
    panel.hidden = !id;
    shown = id ? new JobPanel(panel, { ask, id, signal: ender.signal }) : null;
  };
  el.replaceChildren(...(model.get("form") ? [form] : []), panel);
  if (model.get("form")) new LaunchForm(form, { ask, initial: model.get("draft"), launched: () => {}, changed: () => {}, signal: ender.signal });
  model.on("change:job", open);
  open();
  return () => { ender.abort(); shown?.stop(); model.off("msg:custom", heard); model.off("change:job", open); };
}

export default { render };
