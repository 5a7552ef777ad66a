/* Page Lineage: the graph of versions, and the same as a list that the keyboard walks.
 *
 * The address holds the state: ?run=NAME (empty: all runs) and ?version=KIND:HASH. The graph is drawn by plotly, is
 * one picture for a screen reader, and says nothing that the list and the panel below it do not say.
 */

import { announce, answerTo, clear, el, followTheme, loadPlotly, plural, token } from "./dom.js";
import { drawPilot, fillPilot } from "./lineage_pilot.js";

const KINDS = {  // colour token, plotly's symbol
  policy: ["accent", "circle"], reward: ["good", "diamond"], world_model: ["imagined", "square"], keyframes: ["warn", "triangle-up"],
  rollouts: ["difference", "x"], episodes: ["real", "star"], corrections: ["bad", "cross"],
};
const MODELS = new Set(["policy", "reward", "world_model"]);
const colour = (kind) => token((KINDS[kind] ?? ["muted"])[0]);

export function mount({ element, props, ask }) {
  const host = element.querySelector(".wovr-lineage") ?? element;
  return new Page(host, props, ask);
}

/** Where a version comes from that no stage here made from anything; episodes are the first things that there are. */
const origin = (node) => (node.kind === "episodes" ? "collected or imported" : "from elsewhere");

class Page {
  constructor(host, props, ask) {
    Object.assign(this, { host, props, ask, answer: null, chosen: null, turn: 0 });
    this.build();
    addEventListener("popstate", () => this.load());
    followTheme(() => this.draw());
    this.load();
  }

  build() {
    const ui = (this.ui = {});
    ui.run = el("select", { class: "wovr-select", "aria-label": "run", onchange: () => this.go({ run: ui.run.value, version: null }) });
    ui.count = el("span", { class: "count", "aria-live": "polite" });
    ui.top = el("div", { class: "top" }, el("h1", { text: "Lineage" }), ui.count, el("span", { class: "gap" }), el("label", {}, "run", ui.run),
      el("button", { type: "button", class: "wovr-button", text: "Look again", onclick: () => this.load(true) }));
    ui.plot = el("div", { class: "plot", role: "img", "aria-label": "graph of versions; the list beside it tells the same" });
    ui.graph = el("div", { class: "graph" }, ui.plot);
    ui.list = el("nav", { class: "list", "aria-label": "versions", onkeydown: (event) => this.walk(event) });
    ui.told = el("section", { class: "told", "aria-label": "chosen version" });
    ui.pilot = el("section", { class: "pilot", "aria-label": "autopilot", hidden: true });
    ui.body = el("div", { class: "body" }, el("div", { class: "drawn" }, ui.graph, ui.pilot), el("div", { class: "side" }, ui.list, ui.told));
    ui.blank = el("div", { class: "wovr-empty", hidden: true });
    this.host.replaceChildren(ui.top, ui.body, ui.blank);
    clear(ui.list, el("div", { class: "wovr-loading", text: "reading the lineage …" }));
  }

  // -- address

  read() {
    const query = new URLSearchParams(location.search);
    return { run: query.get("run"), version: query.get("version") };
  }

  go(part) {
    const state = { ...this.read(), ...part }, url = new URL(location.href);
    url.search = "";
    for (const [key, value] of Object.entries(state)) if (value !== null && value !== undefined) url.searchParams.set(key, value);
    if ("run" in part) { history.pushState(null, "", url); this.load(); } else history.replaceState(history.state, "", url);
  }

  // -- data

  async load(again = false) {
    const turn = ++this.turn;
    const answer = await answerTo({ run: this.read().run, again }, this.ask);
    if (turn !== this.turn) return;
    this.answer = answer;
    this.host.dataset.state = answer.error ? "error" : answer.graph.nodes.length ? "ready" : "empty";
    const { ui } = this;
    ui.body.hidden = this.host.dataset.state !== "ready";
    ui.blank.hidden = !ui.body.hidden;
    if (answer.error) this.failed(answer.error); else if (answer.graph.nodes.length) this.fill(answer); else this.empty(answer);
  }

  failed(why) {
    clear(this.ui.blank, el("h2", { text: "The lineage could not be loaded" }), el("p", { class: "wovr-error", text: why }),
      el("div", { class: "wovr-acts" }, el("button", { type: "button", class: "wovr-button main", text: "Try again", onclick: () => this.load(true) }),
        el("button", { type: "button", class: "wovr-button", text: "Newest run", onclick: () => this.go({ run: null, version: null }) })));
  }

  empty(answer) {
    clear(this.ui.count);
    clear(this.ui.blank, el("h2", { text: "Nothing was made from anything yet" }),
      el("p", { text: "Here stands which demonstrations, world model and reward a policy was made with. A run of the pipeline brings it:" }), el("pre", { text: "wovr demo" }),
      el("p", { text: `Runs are looked for in ${answer.home}.` }), el("div", { class: "wovr-acts" }, el("button", { type: "button", class: "wovr-button main", text: "Look again", onclick: () => this.load(true) })));
  }

  fill({ graph, runs, run }) {
    const { ui } = this;
    clear(ui.run, el("option", { value: "", text: "all runs" }), runs.map((key) => el("option", { value: key, text: key })));
    ui.run.value = run;
    ui.count.textContent = `${plural(graph.nodes.length, "version")}, ${plural(graph.edges.length, "step")} of making` + (graph.left_out ? `; ${graph.left_out} of older runs left out` : "");
    this.byId = new Map(graph.nodes.map((node) => [node.id, node]));
    const kinds = [...new Set(graph.nodes.map((node) => node.kind))];
    const lanes = new Map(graph.lanes.map((lane, i) => [kinds[i], lane.title]));
    clear(ui.list, kinds.map((kind) => [el("h3", { text: lanes.get(kind) ?? kind }),
      el("ul", {}, graph.nodes.filter((node) => node.kind === kind).map((node) => el("li", {}, this.button(node))))]));
    fillPilot(ui.pilot, this.answer.pilot, (id) => (this.byId.has(id) ? () => this.choose(id) : null));
    const wanted = this.read().version;
    const last = graph.nodes.filter((node) => node.kind === "policy").at(-1) ?? graph.nodes[0];
    this.choose(this.byId.has(wanted) ? wanted : last.id, false);
    if (wanted && !this.byId.has(wanted)) announce("The version in the address is not in this run; the newest policy is shown.");
  }

  button(node) {
    const places = node.made.length ? [...new Set(node.made.map((place) => place.run))].join(", ") : origin(node);
    const button = el("button", { type: "button", class: "version", title: `${node.title}, ${places}`, dataset: { version: node.id }, onclick: () => this.choose(node.id) },
      el("i", { "aria-hidden": "true" }), el("span", { text: node.title }), el("small", { text: node.made[0]?.stage ?? origin(node) }));
    button.style.setProperty("--kind", `var(--wovr-${(KINDS[node.kind] ?? ["muted"])[0]})`);
    return button;
  }

  /** Arrows, Home and End walk the list; Enter and Space are the buttons' own. */
  walk(event) {
    const buttons = [...this.ui.list.querySelectorAll(".version")], at = buttons.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (to === undefined || at < 0) return;
    event.preventDefault();
    const next = buttons[Math.max(0, Math.min(buttons.length - 1, to))];
    next.focus();
    this.choose(next.dataset.version);
  }

  choose(id, keep = true) {
    this.chosen = id;
    for (const button of this.ui.list.querySelectorAll(".version")) {
      if (button.dataset.version === id) { button.setAttribute("aria-current", "true"); button.scrollIntoView({ block: "nearest" }); } else button.removeAttribute("aria-current");
    }
    if (keep) this.go({ version: id });
    this.tell(this.byId.get(id));
    this.draw();
  }

  tell(node) {
    const { graph } = this.answer;
    const from = graph.edges.filter((edge) => edge.to === node.id), into = graph.edges.filter((edge) => edge.from === node.id);
    const facts = [node.kind.replaceAll("_", " "), node.version];
    if (node.used) facts.push(plural(node.used, "rollout or episode", "rollouts and episodes"));
    if (node.audited) facts.push(`${node.false} of ${node.audited} audited imagined successes were false`);
    const near = (edges, end) => el("ul", {}, edges.map((edge) => el("li", {}, this.near(this.byId.get(edge[end]), edge))));
    clear(this.ui.told, el("h2", { text: node.title }), el("p", { class: "facts", text: facts.join(" · ") }),
      el("div", { class: "wovr-acts" }, this.links(node)),
      from.length ? [el("h3", { text: "made from" }), near(from, "from")] : el("p", { class: "facts", text: "It came from outside these runs." }),
      into.length ? [el("h3", { text: "led to" }), near(into, "to")] : null);
  }

  near(node, edge) {
    const button = this.button(node);
    button.lastChild.textContent = edge.role === "parent" ? `the one before, ${edge.stage}` : edge.stage;
    delete button.dataset.version;
    button.addEventListener("click", () => this.ui.list.querySelector('[aria-current="true"]')?.focus());
    return button;
  }

  /** Into Inspect: what carries a policy or world model, and what the stage that made it left. */
  links(node) {
    const link = (text, query) => el("a", { class: "wovr-button", href: `/?${new URLSearchParams(query)}`, text });
    const found = [];
    if (node.used && (node.kind === "policy" || node.kind === "world_model")) found.push(link("Its rollouts", { [node.kind]: node.title }));
    if (node.false && found.length) found.push(link("Its false successes", { [node.kind]: node.title, verdict: "false_success" }));
    for (const place of node.made.slice(0, 3)) found.push(link(`${place.run} · ${place.stage}`, { run: place.run, q: `${place.run}/${place.stage}/` }));
    return found;
  }

  // -- the picture

  async draw() {
    if (this.host.dataset.state !== "ready" || !this.byId) return;
    let plotly;
    try { plotly = await loadPlotly(new URL(this.props.plotly_url, document.baseURI).href); } catch (error) {
      clear(this.ui.graph, el("p", { class: "wovr-notice", text: `The picture could not be drawn (${error.message}); the list beside it tells the same.` }));
      return;
    }
    drawPilot(plotly, this.ui.pilot, this.answer.pilot, KINDS);
    const { graph } = this.answer, chosen = this.chosen;
    const near = new Set([chosen, ...this.reach("from", "to"), ...this.reach("to", "from")]);
    const lines = (on) => {
      const x = [], y = [];
      for (const edge of graph.edges) {
        if ((near.has(edge.from) && near.has(edge.to)) !== on) continue;
        const a = this.byId.get(edge.from), b = this.byId.get(edge.to);
        x.push(a.x, b.x, null);
        y.push(a.y, b.y, null);
      }
      return { x, y, mode: "lines", hoverinfo: "skip", showlegend: false, line: { color: on ? token("edge") : token("line"), width: on ? 1.4 : 1 } };
    };
    const kinds = [...new Set(graph.nodes.map((node) => node.kind))];
    const marks = kinds.map((kind) => {
      const own = graph.nodes.filter((node) => node.kind === kind);
      return {
        x: own.map((n) => n.x), y: own.map((n) => n.y), customdata: own.map((n) => n.id), mode: "markers+text", showlegend: false, hoverinfo: "text",
        text: own.map((n) => (MODELS.has(kind) ? this.plain(n.title.split(" · ")[0].slice(0, 20)) : "")), textposition: "top center", textfont: { size: 12, color: token("text") }, cliponaxis: false,
        hovertext: own.map((n) => this.plain(`${n.title}\n${n.made[0] ? `${n.made[0].run} · ${n.made[0].stage}` : origin(n)}`)),
        marker: { size: own.map((n) => (n.id === chosen ? 18 : 12)), symbol: (KINDS[kind] ?? [0, "circle"])[1], color: colour(kind), opacity: own.map((n) => (near.has(n.id) ? 1 : .35)),
          line: { width: own.map((n) => (n.id === chosen ? 2 : 0)), color: token("text") } },
      };
    });
    const ys = graph.nodes.map((node) => node.y), bottom = Math.min(...ys), right = Math.max(...graph.nodes.map((node) => node.x));
    const layout = {
      height: Math.max(460, 60 + 62 * (-bottom + 1)), margin: { l: 132, r: 20, t: 16, b: 42 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", dragmode: false,
      font: { family: token("font"), size: 13, color: token("text") }, hoverlabel: { bgcolor: token("panel"), bordercolor: token("line"), font: { color: token("text") } },
      xaxis: { range: [-.4, right + .4], dtick: 1, showgrid: false, zeroline: false, tickfont: { color: token("muted") }, title: { text: "steps of making", font: { size: 12, color: token("muted") } }, fixedrange: true },
      yaxis: { range: [bottom - .7, .7], tickvals: graph.lanes.map((lane) => lane.y), ticktext: graph.lanes.map((lane) => lane.title), gridcolor: token("line"), zeroline: false, fixedrange: true },
    };
    if (chosen !== this.chosen) return;
    await plotly.react(this.ui.plot, [lines(false), lines(true), ...marks], layout, { displayModeBar: false, responsive: true });
    if (!this.heard) { this.heard = true; this.ui.plot.on("plotly_click", (event) => { const id = event.points[0]?.customdata; if (id) this.choose(id); }); }
  }

  /** All versions on the ways from the chosen one. */
  reach(end, other) {
    const found = new Set(), wave = [this.chosen];
    while (wave.length) {
      const here = wave.pop();
      for (const edge of this.answer.graph.edges) if (edge[end] === here && !found.has(edge[other])) { found.add(edge[other]); wave.push(edge[other]); }
    }
    return found;
  }

  /** Plotly reads a few tags in texts (links among them); a run's name is to be read as it is. */
  plain(text) { return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\n", "<br>"); }
}
