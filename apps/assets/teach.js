/* Page Teach: a guided tour, one step a screen, for a class and a projector.
 *
 * ?step=KEY names the step. Arrow keys, Page Up and Page Down turn the pages, N shows the speaker's notes, F fills the
 * screen. Every number comes from Python (workbench/tour); what a slider shows is computed from the same data here.
 */

import { announce, answerTo, clear, el } from "./dom.js";

const WIDE = 760, HIGH = 400;
const svgNode = (tag, attrs = {}, ...children) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attrs)) if (value !== null && value !== undefined) name === "text" ? node.textContent = value : node.setAttribute(name, value);
  node.append(...children.flat().filter(Boolean));
  return node;
};
const percent = (x) => `${(100 * x).toFixed(0)} %`;

/** Wilson's interval at 95 %, as wovr_core.statistics computes it. */
export function wilson(k, n) {
  if (!n) return [0, 1];
  const z = 1.959963984540054, p = k / n, middle = p + (z * z) / (2 * n), half = z * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n)), scale = 1 + (z * z) / n;
  return [Math.max(0, (middle - half) / scale), Math.min(1, (middle + half) / scale)];
}

export function mount({ element, props, ask }) {
  const host = element.querySelector(".wovr-page") ?? element;
  const page = new Teach(host, props, ask);
  host.wovrTeach = page;
  return page;
}

class Teach {
  constructor(host, props, ask) {
    Object.assign(this, { host, props, ask, steps: [], at: 0, notes: false });
    this.closing = new AbortController();
    const { signal } = this.closing;
    addEventListener("keydown", (event) => this.key(event), { signal });
    addEventListener("popstate", () => this.follow(), { signal });
    try { this.notes = sessionStorage.getItem("wovr-notes") === "1"; } catch { /* a browser that keeps nothing */ }
    this.load();
  }

  question(message) { return answerTo(message, this.ask); }

  async load() {
    this.host.dataset.state = "loading";
    clear(this.host, el("div", { class: "wovr-loading", role: "status", text: "Reading the run that is taught on …" }));
    const answer = await this.question({ op: "tour" });
    if (answer.error || !answer.steps?.length) {
      this.host.dataset.state = answer.error ? "error" : "empty";
      clear(this.host, el("div", { class: "wovr-empty", role: answer.error ? "alert" : null }, el("h2", { text: "There is nothing to teach on yet" }),
        el("p", { text: answer.error || "The run has none of the stages that the tour is about." }), el("p", { text: "Make a run of your own (about 12 minutes on two cores), then come back:" }), el("pre", { text: "wovr demo" }),
        el("div", { class: "wovr-acts" }, el("button", { type: "button", class: "wovr-button main", text: "Try again", onclick: () => this.load() }))));
      return;
    }
    Object.assign(this, { steps: answer.steps, run: answer.run });
    this.build();
    this.follow();
  }

  build() {
    const ui = (this.ui = {});
    ui.title = el("h1", { tabindex: "-1" });
    ui.says = el("div", { class: "says" });
    ui.readout = el("p", { class: "readout", "aria-live": "polite" });
    ui.controls = el("div", { class: "controls" });
    ui.piece = el("div", { class: "piece" });
    ui.sources = el("p", { class: "sources" });
    ui.notes = el("aside", { class: "notes", "aria-label": "speaker's notes" });
    ui.dots = el("nav", { class: "dots", "aria-label": "steps" }, this.steps.map((step, i) => el("button", { type: "button", title: `${i + 1}. ${step.title}`, "aria-label": `${i + 1}. ${step.title}`, onclick: () => this.go(i) })));
    ui.back = el("button", { type: "button", class: "wovr-button", text: "‹ Back", onclick: () => this.go(this.at - 1) });
    ui.next = el("button", { type: "button", class: "wovr-button main", text: "Next ›", onclick: () => this.go(this.at + 1) });
    ui.count = el("span", { class: "count" });
    ui.noted = el("button", { type: "button", class: "wovr-button plain", text: "Notes (N)", "aria-pressed": "false", onclick: () => this.toggleNotes() });
    clear(this.host, el("article", { class: "step" }, el("header", {}, ui.count, ui.title), el("div", { class: "text" }, ui.says, ui.controls, ui.readout, ui.notes, ui.sources), ui.piece),
      el("footer", {}, ui.back, ui.dots, ui.noted, ui.next));
  }

  follow() {
    if (!this.steps.length) return;
    const key = new URLSearchParams(location.search).get("step");
    this.show(Math.max(0, this.steps.findIndex((step) => step.key === key)));
  }

  go(to) {
    if (to < 0 || to >= this.steps.length || to === this.at) return;
    const url = new URL(location.href);
    url.search = `?step=${encodeURIComponent(this.steps[to].key)}`;
    history.pushState(null, "", url);
    this.show(to);
    this.ui.title.focus({ preventScroll: true });
  }

  key(event) {
    if (!this.host.isConnected) { this.closing.abort(); return; }
    if (!this.ui || event.ctrlKey || event.metaKey || event.altKey || event.target?.closest?.("input, select, textarea, .wovr-scrubber")) return;
    const turn = { ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1 }[event.key];
    if (turn) { event.preventDefault(); this.go(this.at + turn); }
    else if (event.key === "Home") { event.preventDefault(); this.go(0); }
    else if (event.key === "End") { event.preventDefault(); this.go(this.steps.length - 1); }
    else if (event.key.toLowerCase() === "n") this.toggleNotes();
    else if (event.key.toLowerCase() === "f") { if (document.fullscreenElement) document.exitFullscreen(); else document.documentElement.requestFullscreen?.().catch(() => {}); }
  }

  toggleNotes() {
    this.notes = !this.notes;
    try { sessionStorage.setItem("wovr-notes", this.notes ? "1" : "0"); } catch { /* the same */ }
    this.fillNotes(this.steps[this.at]);
  }

  fillNotes(step) {
    this.ui.notes.hidden = !this.notes;
    this.ui.noted.setAttribute("aria-pressed", String(this.notes));
    clear(this.ui.notes, el("h3", { text: "For the speaker" }), el("p", { text: step.notes }));
  }

  show(i) {
    const { ui } = this, step = this.steps[i];
    this.at = i;
    this.host.dataset.step = step.key;
    ui.count.textContent = `${i + 1} / ${this.steps.length}`;
    ui.title.textContent = step.title;
    clear(ui.says, step.says.map((text) => el("p", { text })));
    clear(ui.sources, el("span", { text: `Numbers: run ${this.run}. Source: ${step.sources.join("; ")}.` }));
    this.fillNotes(step);
    [...ui.dots.children].forEach((dot, k) => { if (k === i) dot.setAttribute("aria-current", "step"); else dot.removeAttribute("aria-current"); });
    ui.back.disabled = i === 0;
    ui.next.disabled = i === this.steps.length - 1;
    clear(ui.controls);
    ui.readout.textContent = "";
    clear(ui.piece);
    (this[`draw_${step.piece.kind}`] ?? (() => {})).call(this, step.piece, step);
    this.host.dataset.state = "ready";
    announce(`${i + 1} of ${this.steps.length}: ${step.title}`);
  }

  slider(label, { min, max, step, value }, act) {
    const input = el("input", { type: "range", min, max, step, value, "aria-label": label });
    input.addEventListener("input", () => act(Number(input.value)));
    this.ui.controls.append(el("label", {}, el("span", { text: label }), input));
    act(Number(value));
    return input;
  }

  says(text) { this.ui.readout.textContent = text; }

  // -- pieces

  async draw_scrubber(piece, step) {
    const box = el("div", { class: "wovr-scrubber" });
    clear(this.ui.piece, el("div", { class: "wovr-loading", role: "status", text: "Opening the rollout …" }));
    const answer = await this.question({ op: "scrubber", rollout: piece.rollout });
    if (this.steps[this.at] !== step) return;
    if (answer.error) { clear(this.ui.piece, el("div", { class: "wovr-error", role: "alert", text: answer.error })); return; }
    const module = await import(new URL(this.props.scrubber_url, document.baseURI).href);
    if (this.steps[this.at] !== step) return;
    clear(this.ui.piece, box);
    module.mountGradio({ element: box, props: { value: answer.value }, watch: () => {}, trigger: () => {}, call: async () => ({ kind: "ack", ok: false, error: "the tour keeps no annotations; use Inspect" }) });
  }

  chart(maxX, maxY, { x = "", y = "", minY = 0 } = {}) {
    const left = 56, right = 16, top = 14, bottom = 46;
    const sx = (v) => left + (v / maxX) * (WIDE - left - right), sy = (v) => HIGH - bottom - ((v - minY) / (maxY - minY || 1)) * (HIGH - top - bottom);
    const ticks = (n, max, min = 0) => [...Array(n + 1).keys()].map((i) => min + (i * (max - min)) / n);
    const svg = svgNode("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img" });
    svg.append(...ticks(4, maxY, minY).map((v) => svgNode("g", {}, svgNode("line", { x1: left, x2: WIDE - right, y1: sy(v), y2: sy(v), class: "rule" }), svgNode("text", { x: left - 8, y: sy(v) + 5, class: "tick end", text: maxY - minY <= 2 ? v.toFixed(2) : v.toFixed(0) }))),
      ...ticks(4, maxX).map((v) => svgNode("text", { x: sx(v), y: HIGH - bottom + 20, class: "tick middle", text: v.toFixed(0) })),
      svgNode("text", { x: (WIDE + left) / 2, y: HIGH - 6, class: "tick middle", text: x }), svgNode("text", { x: left, y: top - 2, class: "tick", text: y }));
    return { svg, sx, sy, path: (values, attrs) => svgNode("path", { d: values.map((v, i) => `${i ? "L" : "M"}${sx(i).toFixed(1)},${sy(v).toFixed(1)}`).join(""), fill: "none", ...attrs }) };
  }

  draw_lines(piece) {
    const n = piece.lines[0].values.length - 1, top = Math.max(...piece.lines.flatMap((line) => line.values));
    const { svg, sx, sy, path } = this.chart(n, top * 1.1, { x: piece.x, y: piece.lines[0].title });
    svg.setAttribute("aria-label", `${piece.lines[0].title} over ${piece.x}`);
    piece.lines.forEach((line) => svg.append(path(line.values, { class: `line ${line.tone}` })));
    const cursor = svgNode("line", { class: "cursor", y1: sy(0), y2: sy(top * 1.1) }), dot = svgNode("circle", { r: 7, class: "dot" });
    svg.append(cursor, dot);
    this.ui.piece.append(svg);
    this.slider(piece.x, { min: 0, max: n, step: 1, value: piece.start }, (k) => {
      for (const [name, value] of [["x1", sx(k)], ["x2", sx(k)]]) cursor.setAttribute(name, value);
      dot.setAttribute("cx", sx(k)); dot.setAttribute("cy", sy(piece.lines[0].values[k]));
      this.says(`Frame ${k}: ${piece.lines.map((line) => `${line.title} ${line.values[k].toFixed(2)}`).join("; ")}`);
    });
  }

  draw_threshold(piece) {
    const n = Math.max(...piece.curves.map((curve) => curve.p.length)) - 1;
    const { svg, sx, sy, path } = this.chart(n, 1, { x: "imagined frame", y: "probability of success" });
    svg.setAttribute("aria-label", "probability of success over the frames of each rollout, with a threshold");
    piece.curves.forEach((curve) => svg.append(path(curve.p, { class: `line ${curve.real ? "real" : "imagined dashed"}` })));
    const limit = svgNode("line", { class: "cursor", x1: sx(0), x2: sx(n) });
    svg.append(limit);
    this.ui.piece.append(svg, el("p", { class: "key" }, el("b", { class: "real", text: "—" }), " really succeeded   ", el("b", { class: "imagined", text: "- -" }), " really failed"));
    this.slider("threshold", { min: 0.02, max: 0.98, step: 0.01, value: piece.threshold }, (at) => {
      limit.setAttribute("y1", sy(at)); limit.setAttribute("y2", sy(at));
      const passed = piece.curves.filter((curve) => curve.p.slice(1).some((p) => p >= at)), wrong = passed.filter((curve) => !curve.real).length;
      const missed = piece.curves.filter((curve) => curve.real).length - (passed.length - wrong);
      this.says(`At ${at.toFixed(2)}: ${passed.length} of ${piece.curves.length} rollouts shown pass as successes, ${wrong} of them falsely; ${missed} real successes are missed.`);
    });
  }

  draw_bars(piece) { this.ui.piece.append(this.bars(piece.bars, piece.unit, piece.bars.every((bar) => bar.low === undefined))); }

  bars(bars, unit, counts = false) {
    const row = Math.min(74, (HIGH - 40) / bars.length), left = 250, wide = WIDE - left - 120, top = counts ? Math.max(...bars.map((bar) => bar.k)) : 1;
    const svg = svgNode("svg", { viewBox: `0 0 ${WIDE} ${Math.ceil(row * bars.length + 40)}`, role: "img", "aria-label": bars.map((bar) => `${bar.title}: ${bar.k} of ${bar.n}`).join("; ") });
    bars.forEach((bar, i) => {
      const y = 8 + i * row, x = (v) => left + (v / top) * wide, size = counts ? bar.k : bar.n ? bar.k / bar.n : 0, middle = y + row * 0.35;
      svg.append(svgNode("text", { x: left - 12, y: middle + 6, class: "label end", text: bar.title }), svgNode("rect", { x: left, y: y + row * 0.1, width: wide, height: row * 0.5, class: "well" }),
        svgNode("rect", { x: left, y: y + row * 0.1, width: Math.max(1, x(size) - left), height: row * 0.5, class: `bar ${bar.tone}` }),
        bar.low === undefined ? null : svgNode("path", { d: `M${x(bar.low)},${middle}H${x(bar.high)}M${x(bar.low)},${middle - 8}v16M${x(bar.high)},${middle - 8}v16`, class: "interval" }),
        svgNode("text", { x: left + wide + 10, y: middle + 6, class: "label", text: counts ? String(bar.k) : `${bar.k} of ${bar.n}` }));
    });
    svg.append(svgNode("text", { x: left, y: row * bars.length + 30, class: "tick", text: unit }));
    return svg;
  }

  draw_table(piece) {
    this.ui.piece.append(el("table", { class: "wovr-table large" }, el("thead", {}, el("tr", {}, piece.head.map((text) => el("th", { text })))), el("tbody", {}, piece.rows.map((row) => el("tr", {}, row.map((text, i) => el(i ? "td" : "th", { text, scope: i ? null : "row" })))))));
  }

  draw_group(piece) {
    const box = el("div");
    this.ui.piece.append(box);
    this.slider("discount", { min: 0.9, max: 1, step: 0.001, value: piece.discount }, (gamma) => {
      const returns = piece.rows.map((row) => (row.step === null ? 0 : gamma ** (row.step - 1))), mean = returns.reduce((a, b) => a + b, 0) / returns.length;
      const flat = Math.max(...returns) - Math.min(...returns) < 1e-6;
      clear(box, el("table", { class: "wovr-table large" }, el("thead", {}, el("tr", {}, ["sibling", "first success", "return R", "advantage R − mean"].map((text) => el("th", { text })))),
        el("tbody", {}, piece.rows.map((row, i) => { const a = flat ? 0 : returns[i] - mean;
          return el("tr", {}, el("th", { scope: "row", text: String(i + 1), title: row.id }), el("td", { text: row.step === null ? `none in ${row.actions}` : `action ${row.step}` }), el("td", { text: returns[i].toFixed(3) }),
            el("td", {}, el("span", { class: "lean" }, el("i", { class: a >= 0 ? "up" : "down", style: `width: ${(Math.abs(a) * 50).toFixed(1)}%; ${a >= 0 ? "left" : "right"}: 50%` })), el("b", { text: `${a >= 0 ? "+" : "−"}${Math.abs(a).toFixed(3)}` }))); }))));
      this.says(flat ? "All siblings earn the same: the group teaches nothing." : `Discount ${gamma.toFixed(3)}: the group's mean is ${mean.toFixed(3)}. Above it, actions are made likelier; below it, less likely.`);
    });
  }

  draw_mask(piece) {
    const n = Math.max(...piece.strips.map((strip) => strip.mask.length)), row = Math.min(90, (HIGH - 40) / piece.strips.length), left = 40, wide = WIDE - left - 16;
    const svg = svgNode("svg", { viewBox: `0 0 ${WIDE} ${Math.ceil(row * piece.strips.length + 40)}`, role: "img", "aria-label": "which actions of each sibling count in the loss" });
    const x = (t) => left + (t / n) * wide;
    piece.strips.forEach((strip, i) => {
      const y = 6 + i * row, foot = y + row * 0.72;
      strip.mask.forEach((on, t) => svg.append(svgNode("rect", { x: x(t) + 0.5, y: foot, width: Math.max(1, wide / n - 1), height: row * 0.14, class: on ? "in" : "out" })));
      svg.append(svgNode("text", { x: left - 10, y: y + row * 0.5, class: "label end", text: String(i + 1) }),
        svgNode("line", { x1: left, x2: left + wide, y1: foot - strip.threshold * row * 0.65, y2: foot - strip.threshold * row * 0.65, class: "rule" }),
        svgNode("path", { d: strip.p.map((p, t) => `${t ? "L" : "M"}${x(t).toFixed(1)},${(foot - p * row * 0.65).toFixed(1)}`).join(""), class: "line p", fill: "none" }));
    });
    const cursor = svgNode("line", { class: "cursor", y1: 0, y2: row * piece.strips.length });
    svg.append(cursor, svgNode("text", { x: left, y: row * piece.strips.length + 30, class: "tick", text: "curve: probability of success, with its threshold; bar: actions that count" }));
    this.ui.piece.append(svg);
    this.slider("action", { min: 1, max: n, step: 1, value: Math.round(n / 2) }, (t) => {
      cursor.setAttribute("x1", x(t - 0.5)); cursor.setAttribute("x2", x(t - 0.5));
      const on = piece.strips.filter((strip) => strip.mask[t - 1]).length;
      this.says(`Action ${t}: it counts in ${on} of ${piece.strips.length} siblings. Weights: ${piece.strips.map((s) => { const all = s.mask.filter(Boolean).length; return `1/${all}`; }).join(", ")} for each action that counts.`);
    });
  }

  draw_trials(piece) {
    const box = el("div");
    this.ui.piece.append(box);
    const n = piece.bars[0].n;
    this.slider("trials, at the same rates", { min: n, max: 50 * n, step: n, value: n }, (trials) => {
      const bars = piece.bars.map((bar) => { const k = Math.round((bar.k / bar.n) * trials), [low, high] = wilson(k, trials); return { ...bar, k, n: trials, low, high }; });
      clear(box, this.bars(bars, trials === n ? "real successes, as measured" : "what the same rates would look like with more trials"));
      const apart = bars[0].high < bars[1].low || bars[1].high < bars[0].low;
      this.says(`${trials} trials each: ${bars.map((bar) => `${percent(bar.low)} to ${percent(bar.high)}`).join(" against ")}. The intervals ${apart ? "lie apart" : "overlap"}${trials === n ? "" : " (a thought experiment: only the first was measured)"}.`);
    });
  }
}
