/* Page Compare: two policies or two world models over shared starts. The address holds the choice. */

import { announce, clear, el, followTheme, loadPlotly, rateBar, token } from "./dom.js";

export async function mount({ element, props, ask }) {
  const host = element.querySelector(".wovr-page") ?? element;
  const launch = await import(new URL(props.launch_url, document.baseURI).href);
  return (host.wovrCompare = new ComparePage(host, props, (message) => launch.asked(ask, message)));
}

const percent = (value) => `${Math.round(100 * value)}`;
const points = (value) => `${value >= 0 ? "+" : "−"}${Math.abs(100 * value).toFixed(0)}`;
const pvalue = (p) => (p < 0.001 ? "p < 0.001" : `p = ${Number(p.toPrecision(2))}`);

class ComparePage {
  constructor(host, props, ask) {
    Object.assign(this, { host, props, ask });
    const query = new URLSearchParams(location.search);
    this.kind = query.get("kind") === "models" ? "models" : "policies";
    this.chosen = { first: query.get("first"), second: query.get("second") };
    this.wanted = query.get("pair");
    const ui = (this.ui = {});
    ui.kind = el("select", { class: "wovr-select", value: this.kind, onchange: () => { this.kind = ui.kind.value; this.chosen = {}; this.fill(); } }, el("option", { value: "policies", text: "two policies" }), el("option", { value: "models", text: "two world models" }));
    const side = (name) => el("select", { class: "wovr-select", dataset: { side: name }, onchange: (event) => { this.chosen[name] = event.target.value; this.compare(); } });
    ui.first = side("first"); ui.second = side("second");
    ui.swap = el("button", { type: "button", class: "wovr-button", text: "Swap", title: "exchange first and second", onclick: () => { this.chosen = { first: this.chosen.second, second: this.chosen.first }; this.fill(); } });
    ui.bar = el("div", { class: "bar" }, el("label", {}, "compare", ui.kind), el("label", {}, "first", ui.first), el("label", {}, "second", ui.second), ui.swap);
    ui.body = el("div", { class: "wovr-compare-body", "aria-live": "polite" });
    ui.scrub = el("section", { class: "scrub", "aria-label": "side by side", hidden: true });
    clear(host, el("main", { class: "wovr-comparison" }, ui.bar, ui.scrub, ui.body));
    followTheme(() => this.draws?.());
    this.start();
  }

  async start() {
    clear(this.ui.body, el("div", { class: "wovr-loading", role: "status", text: "Looking for evaluations and world models …" }));
    const answer = await this.ask({ ask: "choices" });
    if (answer.error) { clear(this.ui.body, el("div", { class: "wovr-error", role: "alert", text: answer.error }), el("button", { type: "button", class: "wovr-button", text: "Try again", onclick: () => this.start() })); return; }
    this.choices = answer;
    this.fill();
  }

  fill() {
    const all = this.choices[this.kind], { ui } = this;
    ui.swap.disabled = ui.first.disabled = ui.second.disabled = all.length < 2;
    if (all.length < 2) {
      clear(ui.first); clear(ui.second);
      const policies = this.kind === "policies";
      clear(ui.body, el("div", { class: "wovr-empty" }, el("h2", { text: all.length ? "There is only one to compare" : `No ${policies ? "evaluation" : "world model"} yet` }),
        el("p", { text: policies ? "A run of the whole pipeline evaluates its first and its last policy on the same initial states:" : "A run trains a first and a refined world model:" }), el("pre", { text: "wovr demo" }), policies ? el("p", {}, "Or evaluate any policy on the page ", el("a", { href: "/evaluate", text: "Evaluate" }), ".") : null));
      return;
    }
    const ids = all.map((one) => one.id);
    const usual = this.usual(all);
    for (const [i, name] of ["first", "second"].entries()) if (!ids.includes(this.chosen[name])) this.chosen[name] = usual[i];
    for (const name of ["first", "second"]) {
      const groups = new Map();
      for (const one of all) groups.set(one.run, [...(groups.get(one.run) ?? []), one]);
      clear(ui[name], [...groups].map(([run, list]) => el("optgroup", { label: run }, list.map((one) => el("option", { value: one.id, text: this.kind === "policies" ? `${one.title} (${one.stage})` : `${one.title}${one.audited ? ` · ${one.audited} audited` : ""}` })))));
      ui[name].value = this.chosen[name];
    }
    this.compare();
  }

  /** The first and last of the newest run that has two. */
  usual(all) {
    for (const run of new Set(all.map((one) => one.run))) {
      const own = all.filter((one) => one.run === run);
      if (own.length > 1) return [own[0].id, own[own.length - 1].id];
    }
    return [all[0].id, all[1].id];
  }

  remember(pair = null) {
    const url = new URL(location.href);
    url.search = "";
    for (const [name, value] of [["kind", this.kind], ["first", this.chosen.first], ["second", this.chosen.second], ["pair", pair]]) if (value) url.searchParams.set(name, value);
    history.replaceState(history.state, "", url);
  }

  async compare() {
    const turn = (this.turn = (this.turn ?? 0) + 1), { ui } = this;
    this.shut();
    this.draws = null;
    this.remember(this.wanted);
    clear(ui.body, el("div", { class: "wovr-loading", role: "status", text: "Comparing …" }));
    ui.body.dataset.state = "loading";
    const answer = await this.ask({ ask: this.kind, ...this.chosen });
    if (turn !== this.turn) return;
    ui.body.dataset.state = answer.error ? "error" : "ready";
    if (answer.error) { clear(ui.body, el("div", { class: "wovr-error", role: "alert", text: answer.error })); return; }
    if (this.kind === "policies") this.policies(answer); else this.models(answer);
    if (this.wanted) { const node = [...ui.body.querySelectorAll("[data-pair]")].find((one) => one.dataset.pair === this.wanted); this.wanted = null; node?.click(); }
  }

  obstacles(list, text) {
    return list.length ? el("div", { class: "wovr-notice", role: "alert" }, el("b", { text }), el("ul", {}, list.map((one) => el("li", { text: one })))) : null;
  }

  // -- policies

  policies(found) {
    const side = (one, name) => el("div", { class: "wovr-card" }, el("h3", { text: name }), el("p", {}, el("b", { text: one.title }), ` in ${one.run}`), el("p", { class: "wovr-verdict", text: rateText(one.rate) }), rateBar(one.rate),
      el("p", { class: "wovr-hint", text: `${one.suite} · temperature ${one.temperature} · at most ${one.max_steps} actions · seed ${one.seed}` }));
    const parts = [el("div", { class: "wovr-sides" }, side(found.first, "first"), side(found.second, "second"))];
    parts.push(this.obstacles(found.obstacles, "These two cannot be compared as pairs, so no difference is given:"));
    if (found.paired) {
      const { paired } = found;
      const verdict = paired.low > 0 ? "the second is better" : paired.high < 0 ? "the first is better" : "no difference can be claimed from these trials";
      parts.push(el("section", { class: "wovr-card", "aria-label": "paired difference", dataset: { paired: "yes" } }, el("h3", { text: `second minus first, on ${found.shared} shared starts` }),
        el("p", { class: "wovr-verdict", text: `${points(paired.difference)} points [${points(paired.low)}, ${points(paired.high)}], ${pvalue(paired.p_value)}` }),
        el("p", { class: "wovr-hint", text: `${verdict} (Newcombe's paired 95 % interval; McNemar's exact test on the ${paired.only_first + paired.only_second} starts that differ)` }),
        el("table", { class: "wovr-table", style: "max-width: 430px" }, el("thead", {}, el("tr", {}, ["both succeed", "only the first", "only the second", "neither"].map((text) => el("th", { scope: "col", text })))),
          el("tbody", {}, el("tr", {}, [paired.both, paired.only_first, paired.only_second, paired.neither].map((n) => el("td", { text: String(n) })))))));
      parts.push(this.pairs(found));
    }
    if (found.notes.length) parts.push(el("div", { class: "wovr-hint" }, found.notes.map((text) => el("p", { text: `Note: ${text}.` }))));
    parts.push(this.config(found.config));
    clear(this.ui.body, el("div", { class: "wovr-results" }, parts));
    announce(found.paired ? `difference ${found.paired.text}` : "they cannot be compared as pairs");
  }

  pairs(found) {
    const tasks = new Map();
    for (const pair of found.pairs) tasks.set(pair.task, [...(tasks.get(pair.task) ?? []), pair]);
    const look = (pair) => (pair.first && pair.second ? ["both", "✓", "both succeed"] : pair.second ? ["gained", "▲", "only the second succeeds"] : pair.first ? ["lost", "▼", "only the first succeeds"] : ["", "·", "neither succeeds"]);
    const cell = (pair) => { const [kind, sign, text] = look(pair); return el("button", { type: "button", class: kind, dataset: { pair: `${pair.task}:${pair.init}` }, title: `initial state ${pair.init}: ${text}; see both`, "aria-label": `task ${pair.task}, initial state ${pair.init}: ${text}`, text: sign, onclick: (event) => this.open(event.currentTarget, { kind: "policies", task: pair.task, init: pair.init }) }); };
    const key = (kind, sign, text) => el("span", {}, el("span", { class: "wovr-cells" }, el("button", { type: "button", class: kind, tabindex: -1, disabled: true, text: sign })), ` ${text}`);
    return el("section", { class: "wovr-card", "aria-label": "start by start" }, el("h3", { text: `${found.flipped.length} of ${found.shared} starts flipped; choose one to see both episodes` }),
      el("div", { class: "wovr-grid50" }, [...tasks].map(([task, list]) => el("div", { class: "line" }, el("span", { text: `task ${task}` }), el("div", { class: "wovr-cells" }, list.map(cell))))),
      el("div", { class: "wovr-legend" }, key("gained", "▲", "only the second"), key("lost", "▼", "only the first"), key("both", "✓", "both"), key("", "·", "neither")));
  }

  // -- world models

  models(found) {
    const { held_out: held, imagined } = found, drawings = [];
    const plot = (draw) => { const node = el("div"); drawings.push(() => draw(node)); return node; };
    const names = [`1: ${found.first.title}`, `2: ${found.second.title}`];
    const side = (one, i) => el("div", { class: "wovr-card" }, el("h3", { text: i ? "second" : "first" }), el("p", {}, el("b", { text: one.title }), ` in ${one.run}`), el("p", { class: "wovr-hint", text: `${imagined.rollouts[i]} audited rollouts from ${imagined.starts[i]} starts` }), imagined.false_success[i].trials ? el("p", { text: `false successes: ${rateText(imagined.false_success[i])} of imagined ones` }) : null);
    const error = el("section", { class: "wovr-card", "aria-label": "error by depth" }, el("h3", { text: "Imagined against real: error by depth" }),
      this.obstacles(imagined.obstacles, "No paired difference:"), imagined.notes.map((text) => el("p", { class: "wovr-hint", text: `Note: ${text}.` })),
      el("div", { class: "wovr-sides" }, imagined.curves.some((curve) => curve.depths.length) ? plot((node) => this.draw(node, imagined.curves.map((curve, i) => ({ ...curve, x: curve.depths, name: names[i] })), "imagined actions", "mean |difference| of 255")) : null,
        imagined.difference ? plot((node) => this.draw(node, [{ ...imagined.difference, x: imagined.difference.depths, name: "second minus first" }], "imagined actions", `difference, ${imagined.shared} shared starts`, true)) : null),
      imagined.pairs.length ? el("div", {}, el("p", { class: "wovr-hint", text: "Starts that both imagined from, the most different first; choose one to see both:" }), el("div", { class: "wovr-acts" }, imagined.pairs.slice(0, 24).map((pair) => el("button", { type: "button", class: "wovr-button", dataset: { pair: `${pair.first}|${pair.second}` }, text: `${pair.errors[0].toFixed(1)} → ${pair.errors[1].toFixed(1)}`, title: `${pair.first} and ${pair.second}`, onclick: (event) => this.open(event.currentTarget, { kind: "models", first_rollout: pair.first, second_rollout: pair.second }) })))) : null);
    const quality = el("section", { class: "wovr-card", "aria-label": "held-out episodes" }, el("h3", { text: "On held-out real episodes: quality by horizon" }), this.obstacles(held.obstacles, held.curves.length ? "Side by side, not paired:" : "Not measured:"),
      held.curves.length ? el("div", { class: "wovr-sides" }, [["psnr_moving", "PSNR where something moves (dB)"], ["ssim", "SSIM"]].map(([key, title]) => plot((node) => this.draw(node, held.curves.map((curve, i) => ({ x: curve.horizons, mean: curve[key], name: names[i] })), "imagined frames", title)))) : null,
      held.curves.length ? el("p", { class: "wovr-hint", text: `${held.curves[0].episodes} and ${held.curves[1].episodes} episodes; the stage kept means only, so there are no intervals.` }) : null);
    clear(this.ui.body, el("div", { class: "wovr-results" }, el("div", { class: "wovr-sides" }, side(found.first, 0), side(found.second, 1)), error, quality, this.config(found.config)));
    this.draws = () => drawings.forEach((draw) => draw());
    this.draws();
  }

  async draw(node, curves, x, y, zero = false) {
    let Plotly;
    try { Plotly = await loadPlotly(new URL(this.props.plotly_url, document.baseURI).href); } catch (error) { clear(node, el("p", { class: "wovr-error", text: error.message })); return; }
    if (!node.isConnected) return;
    const colours = [token("imagined"), token("real")], traces = [];
    curves.forEach((curve, i) => {
      const colour = zero ? token("accent") : colours[i % 2];
      if (curve.low?.length && curve.low.every((value) => value !== null)) traces.push({ x: [...curve.x, ...curve.x.slice().reverse()], y: [...curve.high, ...curve.low.slice().reverse()], mode: "lines", fill: "toself", fillcolor: `${colour}2a`, line: { width: 0 }, hoverinfo: "skip", showlegend: false, type: "scatter" });
      traces.push({ x: curve.x, y: curve.mean, name: curve.name, mode: "lines+markers", line: { color: colour, width: 2, dash: i ? "dot" : "solid" }, marker: { size: 6, symbol: i ? "square" : "circle" }, type: "scatter" });
    });
    const axis = (title) => ({ title: { text: title, font: { size: 11 } }, gridcolor: token("line"), zerolinecolor: token("edge"), zeroline: zero });
    Plotly.react(node, traces, { height: 250, margin: { l: 52, r: 10, t: 10, b: 40 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent", font: { size: 11, color: token("muted") }, legend: { orientation: "h", y: 1.15 }, xaxis: axis(x), yaxis: axis(y) }, { displayModeBar: false, responsive: true });
  }

  // -- both

  config(config) {
    const rows = config.rows;
    return el("section", { class: "wovr-card", "aria-label": "settings" }, el("h3", { text: "What the two runs set otherwise" }),
      rows.length ? el("table", { class: "wovr-table wovr-diff" }, el("thead", {}, el("tr", {}, ["setting", "first", "second"].map((text) => el("th", { scope: "col", text })))), el("tbody", {}, rows.map((row) => el("tr", {}, [row.key, row.first, row.second].map((text) => el("td", { text }))))))
        : el("p", { class: "wovr-hint", text: config.same_run ? "Nothing: both are of one run." : "Nothing: the same recipe with the same settings." }));
  }

  async open(button, what) {
    const { ui } = this;
    for (const node of ui.body.querySelectorAll("[data-pair][aria-pressed]")) node.removeAttribute("aria-pressed");
    button.setAttribute("aria-pressed", "true");
    this.remember(button.dataset.pair);
    const turn = (this.opening = (this.opening ?? 0) + 1);
    const answer = await this.ask({ ask: "open", ...this.chosen, ...what });
    if (turn !== this.opening) return;
    ui.scrub.hidden = false;
    const close = el("button", { type: "button", class: "wovr-button", text: "Close", onclick: () => { this.shut(); this.remember(); button.focus(); } });
    this.end?.();
    this.end = null;
    if (answer.error) { clear(ui.scrub, el("div", { class: "wovr-error", role: "alert", text: answer.error }), close); return; }
    const stage = el("div", { class: "wovr-scrubber" });
    clear(ui.scrub, stage, el("div", { class: "wovr-acts" }, close));
    const module = await import(new URL(this.props.scrubber_url, document.baseURI).href);
    if (turn !== this.opening) return;
    this.end = module.mountGradio({ element: stage, props: { value: answer.value }, watch: () => {}, trigger: () => {}, call: async () => ({ kind: "ack", ok: false, retry: false, error: "annotate it on the page Inspect" }) });
    ui.scrub.scrollIntoView({ block: "start" });
  }

  shut() {
    this.opening = (this.opening ?? 0) + 1;
    this.end?.();
    this.end = null;
    clear(this.ui.scrub);
    this.ui.scrub.hidden = true;
    for (const node of this.ui.body.querySelectorAll("[data-pair][aria-pressed]")) node.removeAttribute("aria-pressed");
  }
}

const rateText = (rate) => (rate.trials ? `${rate.successes}/${rate.trials} = ${percent(rate.value)} % [${percent(rate.low)}, ${percent(rate.high)}]` : "0/0 (no trials)");
