/* Page Train: the launch form on the left, jobs on the right. The address holds the draft and the open job. */

import { announce, el, loadPlotly } from "./dom.js";

const RESOURCES = ["cores", "memory_mb", "gpus"];

export async function mount({ element, props, ask }) {
  const host = element.querySelector(".wovr-page") ?? element;
  const launch = await import(new URL(props.launch_url, document.baseURI).href);
  const page = new TrainPage(host, props, ask, launch);
  host.wovrTrain = page;
  return page;
}

/** The draft that the address tells of. */
function readAddress() {
  const query = new URLSearchParams(location.search), draft = {};
  for (const name of ["recipe", "kind", "run", "priority", "retries"]) if (query.get(name)) draft[name] = query.get(name).slice(0, 100);
  const changes = query.getAll("set").slice(0, 100).map((text) => ({ key: text.split("=")[0].slice(0, 128), value: text.slice(text.indexOf("=") + 1).slice(0, 1000) })).filter((change) => change.key);
  if (changes.length) draft.changes = changes;
  const resources = {};
  for (const name of RESOURCES) if (query.get(name)) resources[name] = query.get(name).slice(0, 12);
  if (Object.keys(resources).length) draft.resources = resources;
  return { draft, job: query.get("job") };
}

class TrainPage {
  constructor(host, props, ask, launch) {
    Object.assign(this, { host, props, ask, launch, given: null });
    const { draft, job } = readAddress();
    this.form = el("section", { class: "wovr-card", "aria-label": "launch" });
    this.list = el("section", { class: "wovr-card wovr-joblist", "aria-label": "jobs" });
    this.panel = el("section", { class: "wovr-card wovr-job", "aria-label": "job", hidden: true });
    this.close = el("button", { type: "button", class: "wovr-button plain", text: "Close", onclick: () => this.open(null) });
    host.replaceChildren(el("div", { class: "wovr-columns" }, el("div", { class: "left" }, el("h1", { text: "Launch" }), this.form),
      el("main", { class: "right" }, this.panel, el("div", { class: "wovr-acts" }, el("h1", { text: "Jobs" })), this.list)));
    this.begin(draft);
    this.jobs = new launch.JobList(this.list, { ask, open: (id) => this.open(id) });
    addEventListener("popstate", () => this.open(readAddress().job, false));
    host.addEventListener("keydown", (event) => { if (event.key === "Escape" && !event.defaultPrevented && this.opened && !event.target.closest("input, select, textarea")) this.open(null); });
    if (job) this.open(job, false);
  }

  begin(draft) {
    this.drawn = new this.launch.LaunchForm(this.form, { ask: this.ask, initial: draft,
      changed: (now) => this.remember(now),
      launched: (job) => { announce(`job ${job.id} is ${job.state}`); this.jobs.refresh(); this.open(job.id); } });
  }

  remember(draft) {
    const url = new URL(location.href);
    for (const name of ["recipe", "kind", "run", "priority", "retries", "set", ...RESOURCES]) url.searchParams.delete(name);
    for (const name of ["recipe", "kind", "run"]) if (draft[name]) url.searchParams.set(name, draft[name]);
    for (const name of ["priority", "retries"]) if (String(draft[name] ?? 0) !== "0") url.searchParams.set(name, draft[name]);
    for (const change of draft.changes) url.searchParams.append("set", `${change.key}=${change.value}`);
    const usual = this.drawn?.setup?.recipes.find((recipe) => recipe.name === draft.recipe)?.resources ?? {};
    for (const name of RESOURCES) if (String(draft.resources[name] ?? "") !== String(usual[name] ?? "")) url.searchParams.set(name, draft.resources[name]);
    history.replaceState(history.state, "", url);
  }

  open(id, push = true) {
    if (id === this.opened) return;
    this.opened = id;
    this.shown?.stop();
    this.shown = null;
    if (push) {
      const url = new URL(location.href);
      if (id) url.searchParams.set("job", id); else url.searchParams.delete("job");
      history.pushState({}, "", url);
    }
    this.panel.hidden = !id;
    this.jobs?.select(id);
    if (!id) return;
    const inner = el("div", { class: "wovr-job" });
    this.panel.replaceChildren(inner, el("div", { class: "wovr-acts" }, this.close));
    this.shown = new this.launch.JobPanel(inner, { ask: this.ask, id, plotly: () => loadPlotly(new URL(this.props.plotly_url, document.baseURI).href), acted: () => this.jobs.refresh(),
      again: (job) => this.reuse(job) });
  }

  /** A job's settings in the form, for another launch in another run or the same. */
  reuse(job) {
    const changes = job.changes.map((text) => ({ key: text.split("=")[0], value: text.slice(text.indexOf("=") + 1) }));
    if (!job.recipe) { announce("only launches of a recipe can be taken into the form", true); return; }
    const draft = { recipe: job.recipe, kind: job.kind, run: job.run, changes, resources: { ...job.resources }, priority: job.priority, retries: job.retries };
    this.begin(draft);
    this.remember({ ...draft, resources: { ...draft.resources } });
    this.form.scrollIntoView({ block: "start" });
  }
}
