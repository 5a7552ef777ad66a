/* Page Evaluate: choose policies, tasks and trials; results with intervals, and a cell for each initial state. */

import { announce, clear, debounce, el, rateBar } from "./dom.js";

const NUMBERS = [["trials", "trials of each task"], ["temperature", "temperature"], ["max_steps", "actions at most"], ["seed", "seed"]];

export async function mount({ element, props, ask }) {
  const host = element.querySelector(".wovr-page") ?? element;
  const launch = await import(new URL(props.launch_url, document.baseURI).href);
  return (host.wovrEvaluate = new EvaluatePage(host, props, ask, launch));
}

class EvaluatePage {
  constructor(host, props, ask, launch) {
    Object.assign(this, { host, props, launch, key: launch.randomKey(), chosen: { policies: new Set(), tasks: new Set() } });
    this.ask = (message) => launch.asked(ask, message);
    this.raw = ask;
    this.checkSoon = debounce(() => this.check(), 250);
    const query = new URLSearchParams(location.search);
    this.run = query.get("run");
    this.form = el("section", { class: "wovr-card", "aria-label": "evaluate" }, el("div", { class: "wovr-loading", role: "status", text: "Looking for policies …" }));
    this.list = el("section", { class: "wovr-card wovr-joblist", "aria-label": "evaluation jobs" });
    this.panel = el("section", { class: "wovr-card wovr-job", "aria-label": "job", hidden: true });
    this.results = el("section", { class: "wovr-card wovr-results", "aria-label": "results" }, el("div", { class: "wovr-loading", role: "status", text: "Reading the results …" }));
    clear(host, el("div", { class: "wovr-columns" }, el("div", { class: "left" }, el("h1", { text: "Evaluate" }), this.form),
      el("main", { class: "right" }, this.panel, el("h1", { text: "Results" }), this.results, el("h1", { text: "Evaluation jobs" }), this.list)));
    this.start(query.get("job"));
  }

  async start(job) {
    const answer = await this.ask({ ask: "runs" });
    if (answer.error) { clear(this.form, el("div", { class: "wovr-error", role: "alert", text: answer.error }), el("button", { type: "button", class: "wovr-button", text: "Try again", onclick: () => this.start(job) })); return; }
    this.setup = answer;
    this.jobs = new this.launch.JobList(this.list, { ask: this.raw, open: (id) => this.open(id), filter: (one) => one.kind === "evaluate_policy",
      empty: el("p", { class: "wovr-hint", text: "None yet: the pipeline evaluates its own policies; here you evaluate any of them again, otherwise." }) });
    if (!answer.runs.length) {
      clear(this.form, el("div", { class: "wovr-empty" }, el("h2", { text: "No policy to evaluate yet" }), el("p", { text: "Train one; imitation alone takes a few minutes:" }), el("pre", { text: "wovr run sft --recipe demo --run mine" })));
    } else this.build();
    this.load();
    if (job) this.open(job);
  }

  remember(name, value) {
    const url = new URL(location.href);
    if (value) url.searchParams.set(name, value); else url.searchParams.delete(name);
    history.replaceState(history.state, "", url);
  }

  build() {
    const ui = (this.ui = { numbers: {} });
    const runs = this.setup.runs.map((run) => run.name);
    if (!runs.includes(this.run)) this.run = runs[0];
    ui.run = el("select", { class: "wovr-select", id: "wovr-eval-run", value: this.run, onchange: () => { this.run = ui.run.value; this.remember("run", this.run); this.fill(); this.load(); } }, this.setup.runs.map((run) => el("option", { value: run.name, text: `${run.name} (${run.policies})` })));
    ui.policies = el("div", { class: "wovr-checks", role: "group", "aria-label": "policies" });
    ui.tasks = el("div", { class: "wovr-checks", role: "group", "aria-label": "tasks" });
    const why = (name) => el("div", { class: "wovr-why", role: "alert", dataset: { error: name } });
    const number = ([name, title]) => {
      ui.numbers[name] = el("input", { class: "wovr-input", id: `wovr-eval-${name}`, inputmode: "decimal", dataset: { field: name }, oninput: () => this.edited() });
      return el("div", { class: "wovr-field" }, el("label", { for: `wovr-eval-${name}`, text: title }), ui.numbers[name], why(name));
    };
    ui.preflight = el("section", { class: "wovr-preflight", "aria-live": "polite", "aria-label": "preflight" });
    ui.launch = el("button", { type: "submit", class: "wovr-button main", text: "Evaluate", disabled: !this.setup.may_launch });
    ui.state = el("span", { class: "wovr-hint", role: "status", text: this.setup.may_launch ? "" : `${this.setup.user} may look, but not launch: that takes the role operator.` });
    const form = el("form", { class: "wovr-launch", novalidate: true, onsubmit: (event) => { event.preventDefault(); this.send(); } },
      el("div", { class: "wovr-field" }, el("label", { for: "wovr-eval-run", text: "Run (its policies)" }), ui.run, why("run")),
      el("fieldset", {}, el("legend", { text: "Policies" }), ui.policies, why("policies")),
      el("fieldset", {}, el("legend", { text: "Tasks" }), ui.tasks, why("tasks")),
      el("div", { class: "wovr-two" }, NUMBERS.map(number)),
      el("p", { class: "wovr-hint", text: "Every policy meets the same initial states, so that any two can be compared as pairs." }),
      ui.preflight, why(""), el("div", { class: "wovr-acts" }, ui.launch, ui.state));
    this.node = form;
    clear(this.form, form);
    this.fill();
  }

  async fill() {
    const { run } = this, answer = await this.ask({ ask: "policies", run });
    if (run !== this.run) return;  // another was chosen meanwhile
    if (answer.error) { this.show(answer.fields ?? { "": answer.error }); return; }
    const { ui, chosen } = this;
    chosen.policies = new Set(answer.policies.slice(-1).map((policy) => policy.version));
    chosen.tasks = new Set(answer.tasks.filter((task) => task.own).map((task) => task.task));
    const box = (set, value, name, ...texts) => el("label", {}, el("input", { type: "checkbox", checked: set.has(value), dataset: { choice: String(value) }, "aria-label": name, onchange: (event) => { if (event.target.checked) set.add(value); else set.delete(value); this.edited(); } }), texts);
    clear(ui.policies, answer.policies.map((policy) => box(chosen.policies, policy.version, policy.title, el("span", { text: policy.title }), el("small", { text: policy.stage }))));
    clear(ui.tasks, answer.tasks.map((task) => box(chosen.tasks, task.task, `task ${task.task}`, el("span", { text: `${task.task}  ${task.instruction}` }), task.own ? el("small", { text: "trained on" }) : null)));
    for (const [name] of NUMBERS) ui.numbers[name].value = answer.defaults[name] ?? "";
    this.edited();
  }

  message(ask) {
    const values = Object.fromEntries(NUMBERS.map(([name]) => [name, this.ui.numbers[name].value]));
    return { ask, run: this.run, policies: [...this.chosen.policies], tasks: [...this.chosen.tasks].sort((a, b) => a - b), ...values };
  }

  edited() {
    if (this.sent) { this.sent = false; this.key = this.launch.randomKey(); this.ui.launch.disabled = !this.setup.may_launch; this.ui.state.textContent = ""; }
    this.checkSoon();
  }

  show(fields) {
    for (const node of this.node.querySelectorAll("[data-error]")) node.textContent = fields[node.dataset.error] ?? "";
    for (const node of this.node.querySelectorAll("[data-field]")) { if (fields[node.dataset.field]) node.setAttribute("aria-invalid", "true"); else node.removeAttribute("aria-invalid"); }
  }

  async check() {
    const turn = (this.turn = (this.turn ?? 0) + 1), answer = await this.ask(this.message("check"));
    if (turn !== this.turn) return;
    this.show(answer.fields ?? (answer.error ? { "": answer.error } : {}));
    const { duration, plural } = this.launch;
    if (answer.error) { clear(this.ui.preflight); return; }
    const done = answer.kept ? `${answer.kept} of ${answer.jobs} answered already` : plural(answer.jobs, "job");
    clear(this.ui.preflight, answer.refusals.map((text) => el("div", { class: "wovr-error", role: "alert" }, el("b", { text: "Cannot be: " }), text)), answer.warnings.map((text) => el("div", { class: "wovr-notice", text })),
      el("dl", {}, [["what", done], ["time here", `${duration(answer.seconds)}${answer.basis ? ` (${answer.basis})` : ""}`], ["disk", `${answer.disk_mb < 1 ? "under 1" : Math.round(answer.disk_mb)} MB; ${(answer.free_disk_mb / 1000).toFixed(1)} GB free`], ["writes to", `new stages of the run ${this.run}; nothing is overwritten`]].map(([name, text]) => [el("dt", { text: name }), el("dd", { text })])));
  }

  async send() {
    if (this.sending || this.sent || !this.setup.may_launch) return;
    this.sending = true;
    this.ui.launch.disabled = true;
    this.ui.state.textContent = "Launching …";
    const answer = await this.ask({ ...this.message("evaluate"), key: this.key });
    this.sending = false;
    if (answer.error) {
      this.ui.launch.disabled = false;
      this.ui.state.textContent = "";
      this.show(answer.fields ?? { "": answer.error });
      return;
    }
    this.sent = true;
    this.ui.state.textContent = `Launched ${answer.jobs.join(", ")}.`;
    announce(this.ui.state.textContent);
    await this.jobs.refresh();
    this.open(answer.jobs[0]);
  }

  open(id) {
    this.shown?.stop();
    this.remember("job", id);
    this.panel.hidden = !id;
    this.jobs?.select(id);
    if (!id) return;
    const inner = el("div", { class: "wovr-job" });
    let ended = false;
    clear(this.panel, inner, el("div", { class: "wovr-acts" }, el("button", { type: "button", class: "wovr-button plain", text: "Close", onclick: () => this.open(null) })));
    this.shown = new this.launch.JobPanel(inner, { ask: async (message) => {
      const answer = await this.raw(message), now = ["succeeded", "failed", "cancelled", "lost"].includes(answer?.job?.state);
      if (now && !ended) { ended = true; this.load(); }
      return answer;
    }, id, acted: () => this.jobs.refresh() });
  }

  // -- results

  async load() {
    const { run } = this, answer = await this.ask({ ask: "results", run: run ?? null });
    if (run !== this.run) return;
    if (answer.error) { clear(this.results, el("div", { class: "wovr-error", role: "alert", text: answer.error })); return; }
    if (!answer.results.length) { clear(this.results, el("p", { class: "wovr-hint", text: this.run ? `Nothing of ${this.run} has been evaluated yet.` : "Nothing has been evaluated yet." })); return; }
    const picked = (this.picked = new Set());
    const compare = el("button", { type: "button", class: "wovr-button", disabled: true, text: "Compare two", onclick: () => { const [first, second] = [...picked]; location.assign(`/compare?kind=policies&first=${encodeURIComponent(first)}&second=${encodeURIComponent(second)}`); } });
    const told = answer.results.length < answer.total ? el("p", { class: "wovr-hint", text: `The latest ${answer.results.length} of ${answer.total}.` }) : null;
    clear(this.results, el("div", { class: "wovr-acts" }, compare, el("span", { class: "wovr-hint", text: "Tick two results to compare them on the same starts." })), told,
      answer.results.slice().reverse().map((result) => this.result(result, picked, compare)));
  }

  result(result, picked, compare) {
    const { rate } = result, percent = (value) => `${Math.round(100 * value)}`;
    const tick = el("input", { type: "checkbox", "aria-label": `compare ${result.title}`, dataset: { result: result.id }, onchange: () => { if (tick.checked) picked.add(result.id); else picked.delete(result.id); compare.disabled = picked.size !== 2; } });
    const tasks = result.tasks.length > 1 ? result.tasks : [];
    return el("article", { class: "wovr-result", dataset: { id: result.id } },
      el("div", { class: "head" }, tick, el("b", { text: result.title }), el("span", { class: "rate", text: `${rate.successes}/${rate.trials} = ${percent(rate.value)} % [${percent(rate.low)}, ${percent(rate.high)}]` }),
        el("span", { class: "wovr-hint", text: `${result.run} · ${result.stage} · ${result.suite} · temperature ${result.temperature} · at most ${result.max_steps} actions · seed ${result.seed}` })),
      rateBar(rate), tasks.length ? el("p", { class: "wovr-hint", text: tasks.map((task) => `task ${task.task}: ${task.successes}/${task.trials} [${percent(task.low)}, ${percent(task.high)}]`).join(" · ") }) : null,
      el("div", { class: "wovr-grid50" }, Object.entries(result.grid).map(([task, outcomes]) => el("div", { class: "line" }, el("span", { text: `task ${task}`, title: "one cell for each initial state" }),
        el("div", { class: "wovr-cells" }, outcomes.map((ok, init) => el("a", { class: ok ? "yes" : "", href: `/?rollout=${encodeURIComponent(result.episodes[`${task}:${init}`])}`, title: `initial state ${init}: ${ok ? "success" : "failure"}; open the episode`, "aria-label": `task ${task}, initial state ${init}: ${ok ? "success" : "failure"}`, text: ok ? "✓" : "·" })))))));
  }
}
