/* The frame-exact scrubber: one dependency-free ES module, used by JupyterLab through anywidget and by the
 * Gradio app through gr.HTML. What it is handed, and what it sends back, is written down in payload.py.
 *
 * Two rules hold everywhere below. A picture is drawn only together with its own number: the clock moves when
 * every pane has decoded the wanted frame, never before. And text that a person wrote reaches the page through
 * textContent alone.
 *
 * Order of this file: style, small helpers, theme, frames, timeline, edits, view, keys, hosts.
 */

// ------------------------------------------------------------------------------------------------ style

const STYLE = `
:host { display: block; contain: content; }
* { box-sizing: border-box; margin: 0; }
.scrubber-root {
  --bg: #f6f7f9; --panel: #ffffff; --line: #dcdfe6; --grid: #eceef2; --text: #1b2130; --muted: #5d6678;
  --accent: #0b62c4; --accent-soft: #0b62c41c; --head: #111827; --bad: #b42318; --good: #04694f; --warn: #8a4b00;
  --real: #0067a5; --imagined: #b35900; --difference: #8a3ffc; --divergence: #b3400b; --p: #0067a5;
  --success: #047857; --mask: #8992a3; --c0: #0067a5; --c1: #c04a00; --c2: #00795c; --void: #e8eaef;
  font: 13px/1.4 system-ui, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", sans-serif;
  color: var(--text); background: var(--bg); border: 1px solid var(--line); border-radius: 8px;
  display: grid; grid-template-columns: minmax(0, 1fr) 264px; grid-template-areas: "head head" "main side";
  outline: none; overflow: hidden; position: relative; font-variant-numeric: tabular-nums;
}
.scrubber-root[data-theme="dark"] {
  --bg: #12151a; --panel: #191d24; --line: #2b313c; --grid: #222730; --text: #e4e8ef; --muted: #98a2b3;
  --accent: #6cb4ff; --accent-soft: #6cb4ff24; --head: #ffffff; --bad: #ff8f7d; --good: #4fd1a5; --warn: #f0b45a;
  --real: #62b5ec; --imagined: #f2a33a; --difference: #c4a1ff; --divergence: #f58a4b; --p: #62b5ec;
  --success: #38c79a; --mask: #7d8798; --c0: #62b5ec; --c1: #f2934d; --c2: #38c79a; --void: #0d0f13;
}
.scrubber-root:focus-visible { border-color: var(--accent); box-shadow: inset 0 0 0 1px var(--accent); }
.scrubber-root.narrow { grid-template-columns: minmax(0, 1fr); grid-template-areas: "head" "main" "side"; }
.head { grid-area: head; display: flex; gap: 10px; align-items: center; padding: 6px 12px; background: var(--panel);
  border-bottom: 1px solid var(--line); min-height: 38px; }
.head .title { font-weight: 600; white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.head .subtitle { color: var(--muted); white-space: nowrap; overflow: hidden; text-overflow: ellipsis; flex: 1; min-width: 0; }
.badge { border: 1px solid var(--line); border-radius: 999px; padding: 0 8px; font-size: 12px; white-space: nowrap; color: var(--muted); }
.badge.good { color: var(--good); border-color: currentColor; } .badge.bad { color: var(--bad); border-color: currentColor; }
.badge.warn { color: var(--warn); border-color: currentColor; }
.status { font-size: 12px; color: var(--muted); white-space: nowrap; } .status.bad { color: var(--bad); font-weight: 600; }
.main { grid-area: main; min-width: 0; display: flex; flex-direction: column; }
.panes { display: flex; gap: 10px; justify-content: center; padding: 10px 12px 4px; }
.pane { flex: 0 0 auto; min-width: 0; }
.pane .cap { display: flex; gap: 6px; align-items: center; font-size: 12px; color: var(--muted); height: 20px; white-space: nowrap; overflow: hidden; }
.pane .cap b { color: var(--text); font-weight: 600; } .pane .cap i { width: 9px; height: 9px; border-radius: 2px; flex: none; }
.pane .cap .n { margin-left: auto; } .pane .ramp { height: 7px; border-radius: 2px; flex: 0 1 60px; min-width: 16px; }
.pane .box { position: relative; background: var(--void); border-radius: 4px; overflow: hidden; border: 1px solid var(--line); }
.pane canvas { display: block; width: 100%; height: 100%; image-rendering: auto; }
.scrubber-root.pixels .pane canvas { image-rendering: pixelated; }
.pane .veil { position: absolute; inset: 0; display: none; align-items: center; justify-content: center; text-align: center;
  color: var(--muted); font-size: 12px; padding: 8px; background: var(--void); }
.pane .veil.on { display: flex; }
.bar { display: flex; gap: 4px 10px; align-items: center; padding: 4px 12px; min-height: 36px; }
.slim .bar { flex-wrap: wrap; }
.group { display: flex; align-items: center; gap: 2px; }
.k { color: var(--muted); font-size: 12px; margin-right: 2px; } .group > .v { min-width: 34px; text-align: center; }
.clock { font-size: 17px; font-weight: 650; color: var(--head); white-space: nowrap; flex: none; }
.clock small { font-size: 12px; color: var(--muted); font-weight: 400; }
.next { flex: 1 1 60px; min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.next .chip { margin: 0 5px 0 2px; }
button { font: inherit; color: var(--text); background: transparent; border: 1px solid transparent; border-radius: 5px;
  min-width: 26px; height: 26px; padding: 0 5px; cursor: pointer; display: inline-flex; align-items: center; justify-content: center; gap: 5px; }
button:hover:not(:disabled) { background: var(--accent-soft); } button:disabled { opacity: .38; cursor: default; }
button:focus-visible, select:focus-visible, input:focus-visible, textarea:focus-visible, .timeline:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 1px; }
button.solid { border-color: var(--line); background: var(--panel); } button.main-action { background: var(--accent); color: var(--panel); }
button.main-action:hover { background: var(--accent); filter: brightness(1.08); }
button svg { width: 15px; height: 15px; fill: currentColor; pointer-events: none; }
.chip { width: 10px; height: 10px; border-radius: 2px; flex: none; display: inline-block; }
.timeline { display: block; width: 100%; cursor: pointer; touch-action: none; background: var(--panel); border-top: 1px solid var(--line); }
.side { grid-area: side; background: var(--panel); border-left: 1px solid var(--line); display: flex; flex-direction: column; min-height: 0; }
.narrow .side { border-left: 0; border-top: 1px solid var(--line); }
.scrubber-root.spanless { grid-template-columns: minmax(0, 1fr); grid-template-areas: "head" "main"; } .spanless .side { display: none; }
.side h3 { font-size: 12px; font-weight: 600; color: var(--muted); padding: 9px 12px 5px; display: flex; justify-content: space-between; }
.list { overflow: auto; flex: 1 1 0; min-height: 96px; padding: 0 6px; }
.narrow .list { flex: none; max-height: 180px; }
.row { width: 100%; height: auto; display: grid; grid-template-columns: 10px 1fr auto; gap: 1px 7px; padding: 5px 6px; text-align: left; align-items: center; }
.row[aria-selected="true"] { background: var(--accent-soft); border-color: var(--accent); }
.row .where { color: var(--muted); font-size: 12px; } .row .sev { letter-spacing: 1px; color: var(--muted); font-size: 10px; }
.row .text { grid-column: 2 / 4; color: var(--muted); font-size: 12px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.empty { color: var(--muted); padding: 6px; line-height: 1.55; } kbd { font: inherit; font-size: 11.5px; border: 1px solid var(--line);
  border-bottom-width: 2px; border-radius: 4px; padding: 0 4px; background: var(--bg); color: var(--text); white-space: nowrap; }
.editor { border-top: 1px solid var(--line); padding: 9px 12px 11px; display: grid; gap: 7px; }
.editor[hidden] { display: none; } .editor label { display: grid; gap: 2px; font-size: 12px; color: var(--muted); }
.editor .two { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; }
.editor .foot { display: flex; justify-content: space-between; align-items: center; gap: 8px; }
.editor .by { color: var(--muted); font-size: 11.5px; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
select, input, textarea { font: inherit; color: var(--text); background: var(--bg); border: 1px solid var(--line); border-radius: 5px; padding: 3px 6px; width: 100%; min-width: 0; }
textarea { resize: vertical; min-height: 46px; max-height: 160px; }
.sevs { display: flex; gap: 4px; } .sevs button { flex: 1; border-color: var(--line); }
.sevs button[aria-pressed="true"] { background: var(--accent-soft); border-color: var(--accent); font-weight: 600; }
.sheet { position: absolute; inset: 0; background: color-mix(in srgb, var(--bg) 97%, transparent); display: none; overflow: auto; padding: 18px 24px; z-index: 3; }
.sheet.on { display: block; } .sheet .title-line { display: flex; justify-content: space-between; align-items: center; margin-bottom: 10px; } .sheet h2 { font-size: 15px; }
.sheet .cols { columns: 3 260px; column-gap: 32px; } .sheet .item { display: flex; gap: 10px; justify-content: space-between; padding: 3px 0; break-inside: avoid; }
.sheet .item span:last-child { text-align: right; } .sheet h4 { font-size: 12px; color: var(--muted); margin: 8px 0 2px; break-after: avoid; }
.toast { position: absolute; left: 50%; top: 5px; transform: translateX(-50%); background: var(--text); color: var(--bg);
  padding: 5px 12px; border-radius: 6px; opacity: 0; transition: opacity .15s; pointer-events: none; z-index: 4; max-width: 90%; }
.toast.on { opacity: 1; } .toast.bad { background: var(--bad); color: var(--panel); }
.blank { grid-column: 1 / -1; padding: 40px 24px; text-align: center; color: var(--muted); }
.sr { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
@media (prefers-reduced-motion: reduce) { .toast { transition: none; } }
`;

// ---------------------------------------------------------------------------------------------- helpers

const clamp = (x, lo, hi) => Math.min(hi, Math.max(lo, x));
const uid = (prefix) => `${prefix}-${crypto.getRandomValues(new Uint32Array(3)).reduce((s, v) => s + v.toString(36), "")}`;
const BITMAP_BUDGET = 128 * 1024 * 1024;  // bytes of decoded pictures, over all panes
const SMALL = 128 * 128;                  // pixels of a picture that is kept as the decoder gives it
const IN_FLIGHT = 16;                     // pictures being decoded at one time
const SPEEDS = [0.1, 0.25, 0.5, 1, 2, 4];
// Okabe and Ito's palette, which stays apart for every kind of colour vision; the label's digit stands beside it.
const LABEL_COLOURS = ["#D55E00", "#E69F00", "#CC79A7", "#56B4E9", "#0072B2", "#009E73", "#8C8C8C", "#B22222", "#7B5EA7", "#A0833C"];

/** An element. `props` are attributes, on* listeners, or `text`, which becomes textContent; never HTML. */
function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const ICONS = {
  first: "M3 2h2v12H3zM14 2v12L6 8z", last: "M11 2h2v12h-2zM2 2v12l8-6z", back: "M11 2v12L3 8z", forward: "M5 2v12l8-6z",
  chunkBack: "M8 2v12L1 8zM15 2v12L8 8z", chunkForward: "M1 2v12l7-6zM8 2v12l7-6z", play: "M4 2v12l10-6z", pause: "M3 2h4v12H3zM9 2h4v12H9z",
  undo: "M6 3V0L1 5l5 5V6h3a3 3 0 1 1 0 6H5v2h4a5 5 0 1 0 0-11z", redo: "M10 3V0l5 5-5 5V6H7a3 3 0 1 0 0 6h4v2H7A5 5 0 1 1 7 3z",
  link: "M6.5 9.5a3 3 0 0 1 0-4.2l2.6-2.6a3 3 0 0 1 4.2 4.2L12 8.2l-1-1 1.3-1.3a1.6 1.6 0 0 0-2.3-2.3L7.4 6.2a1.6 1.6 0 0 0 0 2.3zM9.5 6.5a3 3 0 0 1 0 4.2l-2.6 2.6a3 3 0 0 1-4.2-4.2L4 7.8l1 1-1.3 1.3a1.6 1.6 0 0 0 2.3 2.3l2.6-2.6a1.6 1.6 0 0 0 0-2.3z",
  branch: "M4 1a2 2 0 0 0-1 3.7v6.6a2 2 0 1 0 2 0V10c0-1 .8-1.5 3-1.8 2.5-.4 4-1.2 4-3.5a2 2 0 1 0-2 0c0 .9-.6 1.2-2.6 1.5-1 .2-1.8.4-2.4.8V4.7A2 2 0 0 0 4 1z",
};

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

const fixed = (x, digits = 2) => (x === null || x === undefined || Number.isNaN(x) ? "–" : x.toFixed(digits));

// ------------------------------------------------------------------------------------------------ theme

/** What the page around us looks like: JupyterLab, VS Code and Gradio each say so in their own way. */
function hostTheme() {
  const { body, documentElement: html } = document;
  if (body.dataset.jpThemeLight) return body.dataset.jpThemeLight === "false" ? "dark" : "light";
  if (/vscode-(dark|high-contrast)\b/.test(body.className)) return "dark";
  if (body.classList.contains("vscode-light")) return "light";
  if (document.querySelector("gradio-app, .gradio-container")) return body.classList.contains("dark") ? "dark" : "light";
  const named = html.dataset.theme || html.dataset.bsTheme;
  if (named === "dark" || named === "light") return named;
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

function followTheme(apply, signal) {
  const observer = new MutationObserver(apply);
  for (const node of [document.body, document.documentElement]) {
    observer.observe(node, { attributes: true, attributeFilter: ["class", "data-jp-theme-light", "data-theme", "data-bs-theme"] });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply, { signal });
  signal.addEventListener("abort", () => observer.disconnect());
  apply();
}

// ----------------------------------------------------------------------------------------------- frames

/** The bytes of a pack: Jupyter hands them over as a DataView, Gradio as the URL of a static route. */
async function packBytes(source, signal) {
  if (typeof source === "string") {
    const answer = await fetch(source, { signal, credentials: "same-origin" });
    if (!answer.ok) throw new Error(`frames could not be loaded (HTTP ${answer.status})`);
    return new Uint8Array(await answer.arrayBuffer());
  }
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (source && source.buffer instanceof ArrayBuffer) return new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
  throw new Error("frames are missing");
}

/** One encoded image as something to draw and to close.
 *
 * ImageDecoder (secure origins only, loopback among them) takes half the time of createImageBitmap, and a quarter
 * where its VideoFrame is kept as it is. Drawing one costs more than drawing an ImageBitmap, which shows in large
 * pictures alone: those are turned into bitmaps.
 */
async function decodeImage(bytes, mime) {
  if (typeof ImageDecoder === "undefined") {
    return createImageBitmap(new Blob([bytes], { type: mime }), { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  }
  const decoder = new ImageDecoder({ data: bytes.slice(), type: mime, colorSpaceConversion: "none" });
  try {
    const { image } = await decoder.decode();
    if (image.displayWidth * image.displayHeight <= SMALL) return image;
    try { return await createImageBitmap(image); } finally { image.close(); }
  } finally {
    decoder.close();
  }
}

/** Decoded pictures of every pane around a centre, within a budget of bytes. */
class Frames {
  constructor(meta, packs, onDecoded, signal) {
    this.count = meta.frames;
    this.onDecoded = onDecoded;
    this.signal = signal;
    this.panes = meta.panes.map((pane) => ({ ...pane, bytes: null, error: null, bitmaps: new Map(), busy: new Set(), broken: new Set() }));
    const perFrame = meta.width * meta.height * 4 * Math.max(1, this.panes.length);
    this.capacity = clamp(Math.floor(BITMAP_BUDGET / perFrame), 24, Math.max(24, this.count));
    this.centre = 0;
    this.direction = 1;
    this.trim = 0;
    this.distance = 0;
    this.exhausted = false;
    this.inFlight = 0;
    this.peak = 0;
    this.decoded = 0;
    this.loaded = Promise.all(this.panes.map(async (pane) => {
      try {
        pane.bytes = await packBytes(packs?.[pane.pack], signal);
        if (pane.bytes.length < pane.offsets.at(-1)) throw new Error(`frames are cut short: ${pane.bytes.length} of ${pane.offsets.at(-1)} bytes`);
      } catch (error) {
        pane.bytes = null;
        pane.error = String(error.message || error);
      }
      this.distance = 0;
      if (!signal.aborted) { this.pump(); onDecoded(); }
    }));
    signal.addEventListener("abort", () => this.close());
  }

  /** Which picture of a pane belongs to clock k: the trim shifts what is real against what is imagined. */
  index(pane, k) { return pane.key === "real" ? k + this.trim : k; }
  has(pane, i) { return i >= 0 && i < pane.offsets.length - 1; }

  settled(pane, i) { return pane.error || !this.has(pane, i) || pane.bitmaps.has(i) || pane.broken.has(i); }
  ready(k) { return this.panes.every((pane) => this.settled(pane, this.index(pane, k))); }

  /** First and last clock of the window that is kept decoded: more of it ahead than behind. */
  window() {
    if (this.capacity >= this.count) return [0, this.count - 1];
    const ahead = Math.floor(this.capacity * 0.65);
    const span = this.capacity - 1;
    const first = clamp(this.direction >= 0 ? this.centre - (span - ahead) : this.centre - ahead, 0, this.count - 1 - span);
    return [first, first + span];
  }

  want(k, direction) {
    if (direction) this.direction = direction;
    this.centre = k;
    this.distance = 0;
    this.evict();
    this.pump();
  }

  /** Whether the whole window is decoded. */
  complete() { return this.inFlight === 0 && this.exhausted && this.panes.every((pane) => pane.bytes || pane.error); }

  pump() {
    if (this.inFlight >= IN_FLIGHT || this.signal.aborted) return;
    const [first, last] = this.window();
    this.exhausted = false;
    for (let d = this.distance; d < this.count; d++) {  // nearer ones are decoded, or being decoded
      this.distance = d;
      for (const k of d ? [this.centre + d * this.direction, this.centre - d * this.direction] : [this.centre]) {
        if (k < first || k > last) continue;
        for (const pane of this.panes) {
          const i = this.index(pane, k);
          if (!pane.bytes || this.settled(pane, i) || pane.busy.has(i)) continue;
          this.decode(pane, i);
          if (this.inFlight >= IN_FLIGHT) return;
        }
      }
      if (this.centre + d > last && this.centre - d < first) break;
    }
    this.exhausted = true;
  }

  async decode(pane, i) {
    pane.busy.add(i);
    this.inFlight++;
    try {
      const bitmap = await decodeImage(pane.bytes.subarray(pane.offsets[i], pane.offsets[i + 1]), pane.mime);
      this.decoded++;
      if (this.signal.aborted) bitmap.close();
      else pane.bitmaps.set(i, bitmap);
    } catch {
      pane.broken.add(i);
    }
    pane.busy.delete(i);
    this.inFlight--;
    if (this.signal.aborted) return;
    this.evict();
    this.pump();
    this.onDecoded();
  }

  evict() {
    this.peak = Math.max(this.peak, this.kept());
    if (this.capacity >= this.count && !this.trim) return;
    const [first, last] = this.window();
    for (const pane of this.panes) {
      const shift = this.index(pane, 0);
      for (const [i, bitmap] of pane.bitmaps) {
        if (i - shift >= first && i - shift <= last) continue;
        bitmap.close();
        pane.bitmaps.delete(i);
      }
    }
  }

  kept() { return this.panes.reduce((sum, pane) => sum + pane.bitmaps.size, 0); }

  close() {
    for (const pane of this.panes) {
      for (const bitmap of pane.bitmaps.values()) bitmap.close();
      pane.bitmaps.clear();
      pane.bytes = null;
    }
  }
}

// --------------------------------------------------------------------------------------------- timeline

const GUTTER = 124;  // left of the axis: names and the values at the playhead
const RIGHT = 14;
const SPAN_ROW = 18;

/** Rows for spans that overlap: each takes the first row where it fits. */
function stack(spans) {
  const ends = [];
  const rows = new Map();
  for (const span of [...spans].sort((a, b) => a.start - b.start || b.end - a.end)) {
    let row = ends.findIndex((end) => end < span.start);
    if (row < 0) row = ends.length;
    ends[row] = span.end;
    rows.set(span.id, row);
  }
  return { rows, count: Math.max(1, ends.length) };
}

/** Draws curves, marks and spans over one axis of frames. The unmoving part is kept in a canvas of its own. */
class Timeline {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.still = document.createElement("canvas");
    this.lanes = [];
    this.stale = true;
  }

  /** Lanes from top to bottom for this rollout; only what there is data for. */
  layout(meta, spans, width) {
    this.meta = meta;
    this.count = meta.frames;
    this.stack = stack(spans);
    const lanes = [{ kind: "spans", title: "spans", height: this.stack.count * SPAN_ROW + 8 }];
    for (const curve of meta.curves) {
      lanes.push(curve.kind === "flag" ? { kind: "flag", curve, title: curve.title, height: 18 } : { kind: "curve", curve, title: curve.title, height: 52 });
    }
    for (const group of meta.actions?.groups ?? []) lanes.push({ kind: "actions", group, title: group.title, height: 36 });
    if (meta.mask) lanes.push({ kind: "mask", title: "loss mask", height: 18 });
    lanes.push({ kind: "axis", title: "frame", height: 20 });
    let y = 2;
    for (const lane of lanes) { lane.y = y; y += lane.height; }
    const height = y + 2;
    const ratio = window.devicePixelRatio || 1;
    if (this.width !== width || this.height !== height || this.ratio !== ratio) {
      this.canvas.style.height = `${height}px`;
      for (const c of [this.canvas, this.still]) { c.width = Math.max(1, Math.round(width * ratio)); c.height = Math.round(height * ratio); }
    }
    Object.assign(this, { lanes, width, height, ratio, stale: true });
  }

  get inner() { return Math.max(1, this.width - GUTTER - RIGHT); }
  left(k) { return GUTTER + (k / this.count) * this.inner; }
  middle(k) { return this.left(k + 0.5); }
  frameAt(x) { return clamp(Math.floor(((x - GUTTER) / this.inner) * this.count), 0, this.count - 1); }
  spanLane() { return this.lanes[0]; }

  colours(root) {
    const style = getComputedStyle(root);
    this.colour = (name) => style.getPropertyValue(`--${name}`).trim();
    this.stale = true;
  }

  paintStill() {
    const g = this.still.getContext("2d", { alpha: false });
    const colour = this.colour;
    g.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    g.fillStyle = colour("panel");
    g.fillRect(0, 0, this.width, this.height);
    g.font = `12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif`;
    g.textBaseline = "middle";
    const bottom = this.lanes.at(-1).y;
    if (this.meta.chunk > 1) {
      g.strokeStyle = colour("grid");
      g.lineWidth = 1;
      g.beginPath();
      for (let k = this.meta.chunk; k < this.count; k += this.meta.chunk) {
        const x = Math.round(this.left(k + 1)) + 0.5;  // a chunk makes the frames after its decision
        g.moveTo(x, this.spanLane().height + 2);
        g.lineTo(x, bottom);
      }
      g.stroke();
    }
    for (const lane of this.lanes) {
      g.strokeStyle = colour("line");
      g.beginPath(); g.moveTo(0, lane.y + 0.5); g.lineTo(this.width, lane.y + 0.5); g.stroke();
      g.fillStyle = colour("muted");
      if (lane.kind !== "axis") g.fillText(lane.title, 12, lane.y + (lane.kind === "curve" ? 13 : lane.kind === "actions" ? 11 : lane.height / 2 + 1), GUTTER - 20);
      this[`paint_${lane.kind}`]?.(g, lane);
    }
    this.stale = false;
  }

  line(g, lane, values, lo, hi, shift = 0) {
    const scale = (lane.height - 8) / (hi - lo || 1);
    let pen = false;
    g.beginPath();
    values.forEach((value, k) => {
      if (value === null || !Number.isFinite(value)) { pen = false; return; }
      const x = this.middle(k + shift);
      const y = lane.y + lane.height - 4 - (clamp(value, lo, hi) - lo) * scale;
      if (pen) g.lineTo(x, y); else g.moveTo(x, y);
      pen = true;
    });
    g.stroke();
  }

  /** Calls act(value, first, last) for every run of equal values: one rectangle each, without seams. */
  runs(values, act) {
    for (let k = 0, from = 0; k < values.length; k++) {
      if (k + 1 < values.length && values[k + 1] === values[k]) continue;
      act(values[k], from, k);
      from = k + 1;
    }
  }

  paint_curve(g, lane) {
    const { curve } = lane;
    const [lo, hi] = curve.range;
    g.lineJoin = "round";
    if (curve.threshold !== null && curve.threshold !== undefined) {
      const y = Math.round(lane.y + lane.height - 4 - ((curve.threshold - lo) / (hi - lo || 1)) * (lane.height - 8)) + 0.5;
      g.fillStyle = this.colour("accent-soft");
      this.runs(curve.values.map((value) => value !== null && value >= curve.threshold), (over, from, to) => {
        if (over) g.fillRect(this.left(from), lane.y + 1, this.left(to + 1) - this.left(from), lane.height - 1);
      });
      g.strokeStyle = this.colour("muted");
      g.setLineDash([5, 3]);
      g.beginPath(); g.moveTo(GUTTER, y); g.lineTo(this.width - RIGHT, y); g.stroke();
      g.setLineDash([]);
    }
    g.strokeStyle = this.colour(curve.colour || "accent");
    g.lineWidth = 1.6;
    this.line(g, lane, curve.values, lo, hi);
    g.lineWidth = 1;
  }

  paint_flag(g, lane) {
    const { curve } = lane;
    const shift = curve.follows === "real" ? -(this.trim || 0) : 0;
    g.fillStyle = this.colour(curve.colour || "success");
    this.runs(curve.values, (value, from, to) => {
      const first = clamp(from + shift, 0, this.count);
      const width = this.left(clamp(to + 1 + shift, 0, this.count)) - this.left(first);
      if (value === null || width <= 0) return;
      if (value) g.fillRect(this.left(first), lane.y + 4, width, lane.height - 7);
      else g.fillRect(this.left(first), lane.y + lane.height / 2, width, 1);
    });
  }

  paint_actions(g, lane) {
    const { values } = this.meta.actions;
    g.strokeStyle = this.colour("line");
    const zero = Math.round(lane.y + lane.height / 2) + 0.5;
    g.beginPath(); g.moveTo(GUTTER, zero); g.lineTo(this.width - RIGHT, zero); g.stroke();
    lane.group.columns.forEach((column, j) => {
      g.strokeStyle = this.colour(`c${j}`);
      g.lineWidth = 1.3;
      g.setLineDash([[], [6, 2], [2, 2]][j] ?? []);
      this.line(g, lane, values.map((row) => row[column]), -1.05, 1.05, 1);  // drawn at the frame the action produced
    });
    g.setLineDash([]);
    g.lineWidth = 1;
  }

  paint_mask(g, lane) {
    g.fillStyle = this.colour("mask");
    this.runs(this.meta.mask, (on, from, to) => {
      const x = this.left(from + 1);
      const width = this.left(to + 2) - x;
      if (on) g.fillRect(x, lane.y + 5, width, lane.height - 9);
      else g.fillRect(x, lane.y + lane.height / 2, width, 1);
    });
  }

  paint_axis(g, lane) {
    const steps = [1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024];
    const step = steps.find((s) => (s / this.count) * this.inner > 44) ?? steps.at(-1);
    g.fillStyle = this.colour("muted");
    g.textAlign = "center";
    for (let k = 0; k < this.count; k += step) g.fillText(String(k), this.middle(k), lane.y + lane.height / 2 + 1);
    g.textAlign = "left";
  }

  paint(view) {
    if (!this.meta) return;
    if (this.trim !== view.trim) { this.trim = view.trim; this.stale = true; }
    if (this.stale) this.paintStill();
    const g = this.context;
    g.setTransform(1, 0, 0, 1, 0, 0);
    g.drawImage(this.still, 0, 0);
    g.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    g.font = `12px system-ui, "Segoe UI", "DejaVu Sans", sans-serif`;
    g.textBaseline = "middle";
    this.paintSpans(g, view);
    this.paintValues(g, view);
    const x = Math.round(this.middle(view.frame)) + 0.5;
    if (view.hover !== null && view.hover !== view.frame) {
      const hx = Math.round(this.middle(view.hover)) + 0.5;
      g.strokeStyle = this.colour("muted");
      g.setLineDash([2, 3]);
      g.beginPath(); g.moveTo(hx, 0); g.lineTo(hx, this.height); g.stroke();
      g.setLineDash([]);
      this.tag(g, hx, `#${view.hover}`, "muted");
    }
    g.fillStyle = this.colour("accent-soft");
    g.fillRect(this.left(view.frame), 0, Math.max(1, this.inner / this.count), this.height);
    g.strokeStyle = this.colour("accent");
    g.lineWidth = 1.5;
    g.beginPath(); g.moveTo(x, 0); g.lineTo(x, this.height); g.stroke();
    g.lineWidth = 1;
    this.tag(g, x, `#${view.frame}`, "accent");
  }

  tag(g, x, text, colour) {
    const lane = this.lanes.at(-1);
    const width = g.measureText(text).width + 10;
    const left = clamp(x - width / 2, GUTTER - 8, this.width - width - 2);
    g.fillStyle = this.colour(colour);
    g.fillRect(left, lane.y + 2, width, lane.height - 4);
    g.fillStyle = this.colour("panel");
    g.fillText(text, left + 5, lane.y + lane.height / 2 + 1);
  }

  box(span) {
    const x = this.left(span.start);
    return { x, y: this.spanLane().y + 4 + (this.stack.rows.get(span.id) ?? 0) * SPAN_ROW, w: Math.max(3, this.left(span.end + 1) - x), h: SPAN_ROW - 3 };
  }

  paintSpans(g, view) {
    for (const span of view.spans) {
      const { x, y, w, h: height } = this.box(span);
      const slot = view.slot(span.label);
      const colour = LABEL_COLOURS[slot] ?? LABEL_COLOURS.at(-1);
      const chosen = span.id === view.selected;
      g.fillStyle = colour;
      g.globalAlpha = chosen ? 0.5 : 0.24;
      g.fillRect(x, y, w, height);
      g.globalAlpha = 1;
      g.fillRect(x, y, Math.min(w, 4), height);
      g.strokeStyle = chosen ? this.colour("head") : colour;
      g.lineWidth = chosen ? 2 : 1;
      g.strokeRect(x + 0.5, y + 0.5, Math.max(1, w - 1), height - 1);
      g.lineWidth = 1;
      if (chosen) {
        g.fillStyle = this.colour("head");
        g.fillRect(x - 1, y - 1, 4, height + 2);
        g.fillRect(x + w - 3, y - 1, 4, height + 2);
      }
      if (w > 16) {
        g.save();
        g.beginPath(); g.rect(x + 4, y, w - (w > 40 ? 8 + span.severity * 6 : 7), height); g.clip();
        g.fillStyle = this.colour("head");
        g.fillText(`${(slot + 1) % 10} ${w > 70 ? view.title(span.label) : ""}`, x + 8, y + height / 2 + 1);
        g.restore();
        for (let dot = 0; w > 40 && dot < span.severity; dot++) {  // as many dots as it is severe
          g.beginPath(); g.arc(x + w - 9 - dot * 6, y + height / 2, 2, 0, 7); g.fill();
        }
      }
    }
    if (view.pendingIn !== null) {
      const from = Math.min(view.pendingIn, view.frame);
      const to = Math.max(view.pendingIn, view.frame);
      const lane = this.spanLane();
      g.strokeStyle = this.colour("accent");
      g.fillStyle = this.colour("accent-soft");
      g.setLineDash([4, 3]);
      g.fillRect(this.left(from), lane.y + 2, this.left(to + 1) - this.left(from), lane.height - 4);
      g.strokeRect(this.left(from) + 0.5, lane.y + 2.5, this.left(to + 1) - this.left(from) - 1, lane.height - 5);
      g.setLineDash([]);
    }
  }

  /** In the gutter, what each curve says at the playhead. */
  paintValues(g, view) {
    const k = view.frame;
    g.textAlign = "right";
    for (const lane of this.lanes) {
      const right = GUTTER - 10;
      if (lane.kind === "curve") {
        g.fillStyle = this.colour(lane.curve.colour || "accent");
        g.fillText(fixed(lane.curve.values[k], lane.curve.digits ?? 2), right, lane.y + 30);
        if (lane.curve.threshold !== null && lane.curve.threshold !== undefined) { g.fillStyle = this.colour("muted"); g.fillText(`threshold ${fixed(lane.curve.threshold)}`, right, lane.y + 44); }
        if (view.trim && lane.curve.key === "divergence") { g.fillStyle = this.colour("warn"); g.fillText("at trim 0", right, lane.y + 45); }
      } else if (lane.kind === "flag") {
        const value = lane.curve.values[lane.curve.follows === "real" ? k + view.trim : k];
        g.fillStyle = this.colour(lane.curve.colour || "success");
        g.fillText(value === null || value === undefined ? "–" : value ? "yes" : "no", right, lane.y + lane.height / 2 + 1);
      } else if (lane.kind === "actions") {
        const row = k > 0 ? this.meta.actions.values[k - 1] : null;
        lane.group.columns.forEach((column, j) => {
          g.fillStyle = this.colour(`c${j}`);
          const n = lane.group.columns.length;
          g.fillText(row ? fixed(row[column], n > 1 ? 1 : 2) : "–", right - (n - 1 - j) * 34, lane.y + 26);
        });
      } else if (lane.kind === "mask") {
        g.fillStyle = this.colour("muted");
        g.fillText(k > 0 ? (this.meta.mask[k - 1] ? "in" : "out") : "–", right, lane.y + lane.height / 2 + 1);
      }
    }
    g.textAlign = "left";
  }

  /** What lies under a point: a span's edge or body, the empty span lane, or the axis. */
  hit(x, y, spans, selected) {
    const lane = this.spanLane();
    if (y > lane.y + lane.height) return { part: "axis" };
    const order = [...spans].sort((a, b) => (a.id === selected) - (b.id === selected)).reverse();
    for (const span of order) {
      const box = this.box(span);
      if (y < box.y - 1 || y > box.y + box.h + 1 || x < box.x - 5 || x > box.x + box.w + 5) continue;
      const grip = Math.min(6, box.w / 3);
      if (x < box.x + grip) return { part: "start", span };
      if (x > box.x + box.w - grip) return { part: "end", span };
      return { part: "body", span };
    }
    return { part: "lane" };
  }
}

// ------------------------------------------------------------------------------------------------ edits

/** Spans as this person sees them, and the edits on their way to Python: one at a time, in order, none lost.
 *
 * An edit is applied here at once and acknowledged later. Each carries an id of its own, so that sending one
 * twice does no harm. A refused edit takes the spans back to what Python holds.
 */
class Edits {
  constructor(send, changed, signal) {
    Object.assign(this, { send, changed, spans: [], queue: [], undone: [], done: [], busy: false, error: null, wait: 0 });
    this.versions = new Map();  // of each span, deleted ones too: how many edits it has seen
    signal.addEventListener("abort", () => clearTimeout(this.timer));
  }

  open(rollout, spans) {
    if (rollout !== this.rollout) { this.done = []; this.undone = []; this.error = null; }
    this.rollout = rollout;
    this.accept(spans);
    this.changed();
  }

  /** Python's spans, with what is still under way on top. */
  accept(spans) {
    this.spans = spans.map((span) => ({ ...span }));
    const open = this.queue.filter((edit) => edit.rollout === this.rollout);
    for (const span of this.spans) if (!open.some((edit) => edit.id === span.id)) this.versions.set(span.id, span.version);
    for (const edit of open) this.apply(edit);
  }

  get(id) { return this.spans.find((span) => span.id === id) ?? null; }
  unsaved() { return this.queue.length; }

  set(id, span) {
    const at = this.spans.findIndex((other) => other.id === id);
    if (!span && at >= 0) this.spans.splice(at, 1);
    else if (span && at >= 0) this.spans[at] = span;
    else if (span) this.spans.push(span);
  }

  apply(edit) { this.set(edit.id, edit.after ? { ...edit.after } : null); }

  /** Applies an edit here and queues it for Python. `after` is the span it leaves behind, or null. */
  push(message, id, before, after) {
    const version = (this.versions.get(id) ?? 0) + 1;
    this.versions.set(id, version);
    const edit = { event: uid("e"), rollout: this.rollout, id, before, after: after && { ...after, version }, message: { ...message, version } };
    this.queue.push(edit);
    this.apply(edit);
    this.changed();
    this.pump();
    return edit;
  }

  put(span) {
    const before = this.get(span.id);
    const { id, start, end, label, severity, note } = span;
    this.done.push(this.push({ op: "put", span: { id, start, end, label, severity, note } }, id, before && { ...before }, span));
    this.undone = [];
  }

  remove(id) {
    const before = this.get(id);
    if (!before) return;
    this.done.push(this.push({ op: "delete", id }, id, { ...before }, null));
    this.undone = [];
  }

  undo() {
    const edit = this.done.pop();
    if (!edit) return null;
    const back = this.push({ op: "undo", target: edit.event }, edit.id, edit.after, edit.before);
    this.undone.push({ edit, back });
    return edit;
  }

  redo() {
    const last = this.undone.pop();
    if (!last) return null;
    this.push({ op: "undo", target: last.back.event }, last.edit.id, last.edit.before, last.edit.after);
    this.done.push(last.edit);
    return last.edit;
  }

  pump() {
    if (this.busy || !this.queue.length) return;
    this.busy = true;
    const { event, rollout, message } = this.queue[0];
    this.changed();
    this.send({ kind: "edit", event, rollout, ...message });
  }

  /** Python's answer: {kind: "ack", event, ok, error, retry, spans}. */
  answer(ack) {
    const edit = this.queue[0];
    if (!edit || ack.event !== edit.event) return null;
    this.busy = false;
    if (ack.retry) {  // it never arrived; keep it and try again
      this.error = ack.error;
      this.wait = Math.min(15000, (this.wait || 500) * 2);
      this.timer = setTimeout(() => this.pump(), this.wait);
      this.changed();
      return null;
    }
    this.wait = 0;
    this.queue.shift();
    this.error = ack.ok ? null : ack.error;
    if (!ack.ok) {
      const keep = (entry) => (entry.edit ?? entry).id !== edit.id;
      this.queue = this.queue.filter((other) => other.id !== edit.id);
      this.done = this.done.filter(keep);
      this.undone = this.undone.filter(keep);
      this.versions.set(edit.id, ack.version ?? 0);
    }
    if (edit.rollout === this.rollout && ack.spans) this.accept(ack.spans);
    this.changed();
    this.pump();
    return ack;
  }
}

// ------------------------------------------------------------------------------------------------- view

/** One scrubber on a page. Holds the state; the parts above draw it and carry it. */
class Scrubber {
  constructor(model, el, signal) {
    Object.assign(this, { model, el, signal });
    Object.assign(this, { meta: null, frame: 0, wanted: 0, playing: false, speed: 1, trim: 0, selected: null, hover: null, pendingIn: null, label: null, drag: null });
    this.link = readLink();
    this.stats = { opened: 0, ready: null, steps: 0 };
    this.edits = new Edits((message) => model.send(message), () => this.spansChanged(), signal);
    el.setAttribute("data-lm-suppress-shortcuts", "true");  // JupyterLab's own keys stay out of ours
    this.shadow = el.shadowRoot ?? el.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    this.shadow.adoptedStyleSheets = [sheet];
    this.build();
    this.listen();
    el.wovrScrubber = this;
    this.open();
  }

  // -- building the page

  button(name, title, act, extra = {}) {
    return h("button", { type: "button", title, "aria-label": title, "data-do": name, onclick: act, ...extra }, ICONS[name] ? icon(name) : name);
  }

  build() {
    const ui = (this.ui = {});
    ui.title = h("span", { class: "title" });
    ui.badges = h("span", { class: "group" });
    ui.subtitle = h("span", { class: "subtitle" });
    ui.status = h("span", { class: "status", role: "status" });
    ui.item = h("span", { class: "v" });
    ui.items = h("span", { class: "group" }, this.button("‹ P", "previous item (P)", () => this.navigate(-1)), ui.item, this.button("N ›", "next item (N)", () => this.navigate(1)));
    const head = h("div", { class: "head" }, ui.title, ui.badges, ui.subtitle, ui.status, ui.items, this.button("?", "keys (?)", () => this.help(), { class: "solid" }));

    ui.panes = h("div", { class: "panes" });
    ui.clock = h("span", { class: "clock", "aria-hidden": "true" });
    ui.play = this.button("play", "play or pause (Space)", () => this.play(!this.playing), { class: "main-action" });
    ui.speed = h("span", { class: "v" });
    ui.trim = h("span", { class: "v" });
    ui.trimGroup = h("span", { class: "group" }, h("span", { class: "k", text: "trim" }), this.button("−", "real one frame earlier ({)", () => this.setTrim(this.trim - 1)), ui.trim, this.button("+", "real one frame later (})", () => this.setTrim(this.trim + 1)));
    ui.undo = this.button("undo", "undo (Ctrl+Z)", () => this.undo());
    ui.redo = this.button("redo", "redo (Ctrl+Shift+Z)", () => this.redo());
    ui.branch = this.button("branch", "branch here (B): change the next actions and imagine on", () => this.branch());
    ui.next = h("span", { class: "next", title: "label of the next span (1-9, 0)" });
    const bar = h("div", { class: "bar", role: "toolbar", "aria-label": "playback" },
      ui.clock,
      h("span", { class: "group" },
        this.button("first", "first frame (Home)", () => this.seek(0)), this.button("chunkBack", "previous chunk (Shift+Left)", () => this.chunk(-1)),
        this.button("back", "one frame back (Left)", () => this.step(-1)), ui.play, this.button("forward", "one frame on (Right)", () => this.step(1)),
        this.button("chunkForward", "next chunk (Shift+Right)", () => this.chunk(1)), this.button("last", "last frame (End)", () => this.seek(Infinity))),
      h("span", { class: "group" }, h("span", { class: "k", text: "speed" }), this.button("−", "slower ([)", () => this.faster(-1)), ui.speed, this.button("+", "faster (])", () => this.faster(1))),
      ui.trimGroup, ui.next,
      h("span", { class: "group" }, ui.undo, ui.redo, ui.branch, this.button("link", "copy a link to this frame (L)", () => this.copyLink())));

    ui.canvas = h("canvas", { class: "timeline", role: "slider", tabindex: "0", "aria-label": "frame", "aria-orientation": "horizontal" });
    this.timeline = new Timeline(ui.canvas);

    ui.count = h("span");
    ui.list = h("div", { class: "list", role: "listbox", "aria-label": "annotation spans" });
    ui.editor = this.buildEditor();
    const side = h("div", { class: "side", role: "region", "aria-label": "annotations" }, h("h3", {}, h("span", { text: "Spans" }), ui.count), ui.list, ui.editor);

    ui.sheet = h("div", { class: "sheet", role: "dialog", "aria-label": "keys", "aria-modal": "true" });
    ui.toast = h("div", { class: "toast" });
    ui.live = h("div", { class: "sr", "aria-live": "polite" });
    ui.blank = h("div", { class: "blank", text: "No rollout is open." });
    ui.body = [head, h("div", { class: "main" }, ui.panes, bar, ui.canvas), side];
    this.root = h("div", { class: "scrubber-root", tabindex: "0", role: "application", "aria-label": "rollout scrubber", "data-state": "empty" }, ui.blank, ...ui.body, ui.sheet, ui.toast, ui.live);
    this.shadow.replaceChildren(this.root);
  }

  buildEditor() {
    const ui = this.ui;
    const edge = (name) => h("input", { type: "number", min: "0", step: "1", "aria-label": `${name} frame`, onchange: (event) => this.setEdge(name, event.target.valueAsNumber) });
    ui.label = h("select", { "aria-label": "label", onchange: (event) => this.change({ label: event.target.value }) });
    ui.start = edge("start");
    ui.end = edge("end");
    ui.sevs = [1, 2, 3].map((n) => h("button", { type: "button", title: `severity ${n} (Shift+${n})`, "aria-label": `severity ${n}`, onclick: () => this.change({ severity: n }), text: `${n} ${["slight", "clear", "severe"][n - 1]}` }));
    ui.note = h("textarea", { rows: "2", maxlength: "2000", placeholder: "what goes wrong here", "aria-label": "note", onchange: (event) => this.change({ note: event.target.value }) });
    ui.by = h("span", { class: "by" });
    ui.remove = h("button", { type: "button", class: "solid", title: "delete (Delete)", onclick: () => this.remove(), text: "Delete" });
    return h("div", { class: "editor", hidden: true },
      h("label", {}, "label", ui.label),
      h("div", { class: "two" }, h("label", {}, "from frame", ui.start), h("label", {}, "to frame", ui.end)),
      h("div", { class: "sevs", role: "group", "aria-label": "severity" }, ...ui.sevs),
      h("label", {}, "note", ui.note),
      h("div", { class: "foot" }, ui.by, ui.remove));
  }

  listen() {
    const { signal, root, ui } = this;
    const on = (node, type, act, more = {}) => node.addEventListener(type, act, { signal, ...more });
    on(root, "keydown", (event) => onKey(this, event));
    on(root, "keyup", (event) => event.stopPropagation());
    // A click on a button must not take the keys away from the scrubber.
    on(root, "mousedown", (event) => {
      if (event.target.closest("input, select, textarea, .sheet")) return;
      if (event.target.closest("button")) event.preventDefault();
      if (event.target !== ui.canvas) this.focus();
    });
    on(ui.canvas, "pointerdown", (event) => this.pointerDown(event));
    on(ui.canvas, "pointermove", (event) => this.pointerMove(event));
    on(ui.canvas, "pointerup", (event) => this.pointerUp(event));
    on(ui.canvas, "pointercancel", (event) => this.pointerUp(event));
    on(ui.canvas, "pointerleave", () => { this.hover = null; this.paint(); });
    on(ui.canvas, "dblclick", () => this.selected && ui.note.focus());
    on(window, "beforeunload", (event) => { this.flush(); if (this.edits.unsaved()) event.preventDefault(); });
    const resize = new ResizeObserver(() => this.resize());
    resize.observe(this.el);
    signal.addEventListener("abort", () => { resize.disconnect(); cancelAnimationFrame(this.tick); clearTimeout(this.linkTimer); clearTimeout(this.nudgeTimer); clearTimeout(this.toastTimer); });
    followTheme(() => this.theme(), signal);
    for (const [name, act] of [["change:meta", () => this.open()], ["change:spans", () => this.pulled()], ["change:theme", () => this.theme()], ["msg:custom", (message) => this.received(message)]]) {
      this.model.on(name, act);
      signal.addEventListener("abort", () => this.model.off(name, act));
    }
  }

  focus() { this.root.focus({ preventScroll: true }); }

  theme() {
    const forced = this.model.get("theme");
    this.root.dataset.theme = forced === "dark" || forced === "light" ? forced : hostTheme();
    this.timeline.colours(this.root);
    this.paint();
  }

  // -- a rollout arrives

  open() {
    this.flush();
    const meta = this.model.get("meta");
    this.play(false);
    this.closing?.abort();
    this.frames = null;
    const usable = Boolean(meta && meta.frames > 0);
    for (const node of this.ui.body) node.style.display = usable ? "" : "none";
    this.ui.blank.style.display = usable ? "none" : "";
    if (!usable) { this.meta = null; this.root.dataset.state = "empty"; return; }
    const again = this.meta?.id === meta.id;
    this.meta = meta;
    this.closing = new AbortController();
    this.signal.addEventListener("abort", () => this.closing.abort(), { signal: this.closing.signal });
    if (!again) Object.assign(this, { trim: 0, selected: null, pendingIn: null, frame: 0, wanted: 0 });
    this.label ??= meta.labels.at(-1).key;
    this.stats = { opened: performance.now(), ready: null, steps: 0 };
    this.root.dataset.state = "loading";
    this.edits.open(meta.id, this.model.get("spans") ?? []);
    this.fill();
    this.frames = new Frames(meta, this.model.get("packs"), () => this.decoded(), this.closing.signal);
    this.frames.trim = this.trim;
    this.resize();
    this.follow();
  }

  /** Where a deep link points: this rollout's frame and span, or another rollout that Python should open. */
  follow() {
    const { link, meta } = this;
    let frame = clamp(this.wanted || 0, 0, meta.frames - 1);
    if (link && link.rollout === meta.id) {
      if (link.span && this.edits.get(link.span)) { this.selected = link.span; frame = this.edits.get(link.span).start; }
      if (link.frame !== null) frame = clamp(link.frame, 0, meta.frames - 1);
      this.link = null;
    } else if (link?.rollout) {
      if (!link.asked) this.model.send({ kind: "open", rollout: link.rollout });
      link.asked = true;
    } else if (meta.frame !== undefined && meta.frame !== null) frame = clamp(meta.frame, 0, meta.frames - 1);
    this.spansChanged();
    this.seek(frame);
  }

  fill() {
    const { ui, meta } = this;
    ui.title.textContent = meta.title || meta.id;
    ui.subtitle.textContent = meta.subtitle || "";
    ui.subtitle.title = meta.subtitle || "";
    ui.badges.replaceChildren(...(meta.badges ?? []).map((badge) => h("span", { class: `badge ${/^(good|bad|warn)$/.test(badge.tone) ? badge.tone : ""}`, text: badge.text })));
    ui.items.style.display = meta.items ? "" : "none";
    ui.item.textContent = meta.items ? `${meta.item + 1}/${meta.items}` : "";
    ui.branch.style.display = meta.can_branch ? "" : "none";
    ui.trimGroup.style.display = meta.panes.some((p) => p.key === "real") && meta.panes.some((p) => p.key === "imagined") ? "" : "none";
    ui.label.replaceChildren(...meta.labels.map((label, i) => h("option", { value: label.key, text: `${i < 10 ? `${(i + 1) % 10} ` : ""}${label.title}` })));
    ui.start.max = ui.end.max = String(meta.frames - 1);
    this.paneUi = meta.panes.map((pane) => {
      const canvas = h("canvas", { width: meta.width, height: meta.height, role: "img", "aria-label": `${pane.title} frame`, "data-pane": pane.key });
      const veil = h("div", { class: "veil on", text: "loading frames" });
      const n = h("span", { class: "n" });
      const swatch = h("i");
      swatch.style.background = `var(--${/^[a-z]+$/.test(pane.key) ? pane.key : "accent"})`;
      const caption = h("div", { class: "cap" }, swatch, h("b", { text: pane.title }));
      if (pane.ramp) {
        const ramp = h("span", { class: "ramp", role: "img", "aria-label": `colour scale from 0 to ${pane.scale} ${pane.unit ?? ""}` });
        ramp.style.background = `linear-gradient(90deg, ${pane.ramp.map((c) => `rgb(${c.map(Number).join(",")})`).join(", ")})`;
        caption.append(h("span", { text: "0" }), ramp, h("span", { text: `≥${pane.scale}` }));
      }
      caption.append(n);
      const box = h("div", { class: "box" }, canvas, veil);
      return { key: pane.key, canvas, veil, n, box, context: canvas.getContext("2d", { alpha: false }), node: h("div", { class: "pane" }, caption, box) };
    });
    ui.panes.replaceChildren(...this.paneUi.map((pane) => pane.node));
    this.root.setAttribute("aria-label", `rollout scrubber, ${meta.title || meta.id}, ${meta.frames} frames`);
    // As wide as it will ever get, so that nothing beside it moves while it counts.
    ui.clock.style.width = `${2 * String(meta.frames).length + 3 + 0.75 * ((meta.frames / meta.fps).toFixed(2).length + 2)}ch`;
    ui.canvas.setAttribute("aria-valuemin", "0");
    ui.canvas.setAttribute("aria-valuemax", String(meta.frames - 1));
    if (!meta.panes.length) ui.panes.replaceChildren(h("div", { class: "empty", text: "This rollout has no pictures." }));
  }

  resize() {
    if (!this.meta || !this.el.isConnected) return;
    const width = this.el.clientWidth;
    if (!width) return;
    this.root.classList.toggle("spanless", this.spanless());
    this.root.classList.toggle("narrow", width < 860);
    const main = this.ui.canvas.parentElement.clientWidth;
    this.root.classList.toggle("slim", main < 760);
    const n = Math.max(1, this.paneUi.length);
    this.timeline.layout(this.meta, this.spans(), main);
    // Panes as tall as lets the whole tool stand in the window, with a little of the host's page above it.
    const others = this.timeline.height + 40 + 38 + 34 + 52;
    const tall = clamp((window.innerHeight || 720) - others, 150, 560);
    const aspect = this.meta.width / this.meta.height;
    const each = Math.max(80, Math.min((main - 24 - 10 * (n - 1)) / n, tall * aspect));
    for (const pane of this.paneUi) { pane.box.style.width = `${Math.floor(each)}px`; pane.box.style.height = `${Math.floor(each / aspect)}px`; pane.node.style.width = `${Math.floor(each)}px`; }
    // Enlarged by a lot, hard pixels are the honest picture; enlarged a little, they only flicker.
    this.root.classList.toggle("pixels", each / this.meta.width >= 2);
    this.timeline.colours(this.root);
    this.paint();
  }

  // -- the clock

  decoded() {
    if (!this.frames) return;
    if (this.wanted !== this.frame || !this.drawn) this.show();
    if (this.stats.ready === null && this.frames.complete()) {
      this.stats.ready = performance.now() - this.stats.opened;
      this.root.dataset.state = "ready";
      this.el.dispatchEvent(new CustomEvent("scrubber-ready", { detail: this.stats.ready }));
      this.show();
    }
  }

  step(n) { this.play(false); this.seek(this.wanted + n); }

  chunk(n) {
    const size = Math.max(1, this.meta.chunk || 1);
    this.play(false);
    this.seek(n > 0 ? (Math.floor(this.wanted / size) + 1) * size : (Math.ceil(this.wanted / size) - 1) * size);
  }

  seek(k) {
    if (!this.meta) return;
    k = clamp(k, 0, this.meta.frames - 1);
    const direction = Math.sign(k - this.wanted);
    this.wanted = k;
    this.frames?.want(k, direction);
    this.show();
    this.linkSoon();
  }

  /** Draws the wanted frame in every pane at once, or waits until it can. */
  show() {
    const { frames, paneUi, wanted: k } = this;
    if (!frames || !this.el.isConnected) return;
    if (!frames.ready(k)) { this.drawn = false; this.root.dataset.waiting = "true"; return; }
    delete this.root.dataset.waiting;
    frames.panes.forEach((pane, j) => {
      const ui = paneUi[j];
      const i = frames.index(pane, k);
      const bitmap = pane.bitmaps.get(i);
      if (bitmap) ui.context.drawImage(bitmap, 0, 0);
      const why = pane.error ?? (!frames.has(pane, i) ? "no frame here" : bitmap ? "" : `frame ${i} cannot be decoded`);
      if (ui.why !== why) { ui.why = why; ui.veil.textContent = why; ui.veil.classList.toggle("on", Boolean(why)); }
      const text = `${frames.has(pane, i) ? `#${i}` : "–"}${pane.key === "difference" && this.trim ? " at trim 0" : ""}`;
      if (ui.n.textContent !== text) ui.n.textContent = text;
      ui.canvas.dataset.frame = bitmap ? i : "";
    });
    this.drawn = true;
    this.frame = k;
    this.stats.steps++;
    this.root.dataset.frame = k;
    const { ui, meta } = this;
    ui.clock.replaceChildren(`#${k}/${meta.frames} `, h("small", { text: `${(k / meta.fps).toFixed(2)} s` }));
    ui.canvas.setAttribute("aria-valuenow", String(k));
    ui.canvas.setAttribute("aria-valuetext", this.spoken(k));
    this.paint();
  }

  spoken(k) {
    const said = this.meta.curves.filter((curve) => curve.kind !== "flag" && curve.values[k] != null).map((curve) => `${curve.title} ${fixed(curve.values[k], curve.digits ?? 2)}`);
    const here = this.edits.spans.filter((span) => span.start <= k && k <= span.end).map((span) => this.titleOf(span.label));
    return [`frame ${k} of ${this.meta.frames}`, ...said, ...here].join(", ");
  }

  play(on) {
    if (!this.meta || on === this.playing) return;
    this.playing = on;
    this.ui.play.replaceChildren(icon(on ? "pause" : "play"));
    this.root.dataset.playing = String(on);
    cancelAnimationFrame(this.tick);
    if (!on) return;
    if (this.wanted >= this.meta.frames - 1) this.seek(0);
    this.anchor();
    const run = () => {
      if (!this.playing) return;
      if (!this.el.isConnected) { this.playing = false; return; }
      const due = this.from + Math.floor(((performance.now() - this.since) / 1000) * this.meta.fps * this.speed);
      if (due > this.wanted) {
        if (!this.drawn) this.anchor();  // decoding is behind: wait for it instead of running away
        else this.seek(due);
      }
      if (this.wanted >= this.meta.frames - 1 && this.drawn) { this.play(false); return; }
      this.tick = requestAnimationFrame(run);
    };
    this.tick = requestAnimationFrame(run);
  }

  anchor() { this.from = this.wanted; this.since = performance.now(); }

  faster(n) {
    this.speed = SPEEDS[clamp(SPEEDS.indexOf(this.speed) + n, 0, SPEEDS.length - 1)];
    this.anchor();
    this.paint();
  }

  setTrim(trim) {
    if (this.ui.trimGroup.style.display === "none") return;
    this.trim = clamp(trim, 1 - this.meta.frames, this.meta.frames - 1);
    this.frames.trim = this.trim;
    this.seek(this.wanted);
  }

  // -- spans

  titleOf(key) { return this.meta.labels.find((label) => label.key === key)?.title ?? key; }
  slotOf(key) { const i = this.meta.labels.findIndex((label) => label.key === key); return i < 0 ? 9 : i; }
  editable() {
    if (this.meta?.can_edit) return true;
    if (this.meta) this.say("This rollout is open for reading only.");
    return false;
  }

  spansChanged() {
    if (!this.meta) return;
    if (this.selected && !this.edits.get(this.selected) && !this.nudged) this.selected = null;
    if (this.frames && this.spanless() !== this.root.classList.contains("spanless")) this.resize();
    const rows = stack(this.spans()).count;
    if (rows !== this.timeline.stack?.count && this.timeline.width) this.timeline.layout(this.meta, this.spans(), this.timeline.width);
    else if (this.timeline.width) this.timeline.stack = stack(this.spans());
    this.fillList();
    this.fillEditor();
    this.fillStatus();
    this.root.dataset.unsaved = String(this.edits.unsaved());
    this.paint();
  }

  /** No span is there and none can be made: then their column would only take room from the pictures. */
  spanless() { return !this.meta.can_edit && !this.edits.spans.length; }

  /** The spans as they are on screen: with an edge that is being dragged or nudged in its new place. */
  spans() {
    const moving = this.nudged ?? this.drag?.span;
    if (!moving) return this.edits.spans;
    const rest = this.edits.spans.filter((span) => span.id !== moving.id);
    return [...rest, moving];
  }

  chosen() { return this.spans().find((span) => span.id === this.selected) ?? null; }

  fillList() {
    const { ui } = this;
    const spans = [...this.spans()].sort((a, b) => a.start - b.start || a.end - b.end);
    ui.count.textContent = spans.length ? String(spans.length) : "";
    ui.list.setAttribute("role", spans.length ? "listbox" : "note");  // a list box without an option is none
    if (!spans.length) {
      ui.list.replaceChildren(h("div", { class: "empty" }, "Drag along the ", h("b", { text: "spans" }), " lane, or press ", h("kbd", { text: "I" }), " and ", h("kbd", { text: "O" }),
        ", to mark where imagination goes wrong. ", h("kbd", { text: "1" }), "–", h("kbd", { text: "0" }), " label it, ", h("kbd", { text: "?" }), " lists every key."));
      return;
    }
    ui.list.replaceChildren(...spans.map((span) => {
      const chip = h("span", { class: "chip" });
      chip.style.background = LABEL_COLOURS[this.slotOf(span.label)] ?? LABEL_COLOURS.at(-1);
      return h("button", { type: "button", class: "row", role: "option", "aria-selected": String(span.id === this.selected), "data-span": span.id,
        "aria-label": `${this.titleOf(span.label)}, frames ${span.start} to ${span.end}, severity ${span.severity}`, onclick: () => this.select(span.id) },
      chip, h("span", { text: this.titleOf(span.label) }), h("span", { class: "where", text: span.start === span.end ? `#${span.start}` : `#${span.start}–${span.end}` }),
      span.note ? h("span", { class: "text", text: span.note }) : null);
    }));
  }

  fillEditor() {
    const { ui } = this;
    const span = this.chosen();
    ui.editor.hidden = !span;
    const active = this.shadow.activeElement;
    if (!span) return;
    ui.label.value = span.label;
    if (active !== ui.start) ui.start.value = span.start;
    if (active !== ui.end) ui.end.value = span.end;
    if (active !== ui.note || ui.note.dataset.span !== span.id) ui.note.value = span.note;
    ui.note.dataset.span = span.id;
    ui.sevs.forEach((button, i) => button.setAttribute("aria-pressed", String(span.severity === i + 1)));
    ui.by.textContent = [span.author, (span.time ?? "").slice(0, 16).replace("T", " ")].filter(Boolean).join(" · ");
    for (const node of [ui.label, ui.start, ui.end, ui.note, ui.remove, ...ui.sevs]) node.disabled = !this.meta.can_edit;
  }

  fillStatus() {
    const { ui, edits } = this;
    const n = edits.unsaved();
    ui.status.classList.toggle("bad", Boolean(edits.error));
    const text = edits.error ? `not saved: ${edits.error}` : n ? `saving ${n}` : edits.done.length ? "saved" : "";
    if (ui.status.textContent !== text) ui.status.textContent = text;
    ui.undo.disabled = !edits.done.length;
    ui.redo.disabled = !edits.undone.length;
  }

  select(id, seek = true) {
    this.flush();
    this.selected = id;
    const span = id && this.edits.get(id);
    if (span && seek && (this.wanted < span.start || this.wanted > span.end)) this.seek(span.start);
    this.spansChanged();
    this.linkSoon();
  }

  neighbour(n) {
    const spans = [...this.edits.spans].sort((a, b) => a.start - b.start || a.end - b.end);
    if (!spans.length) return;
    const at = spans.findIndex((span) => span.id === this.selected);
    this.select(spans[at < 0 ? (n > 0 ? 0 : spans.length - 1) : clamp(at + n, 0, spans.length - 1)].id);
  }

  add(start, end) {
    if (!this.editable()) return;
    const span = { id: uid("s"), start: Math.min(start, end), end: Math.max(start, end), label: this.label, severity: 2, note: "" };
    this.selected = span.id;
    this.edits.put(span);
    this.say(`span ${span.start} to ${span.end}, ${this.titleOf(span.label)}`);
    this.linkSoon();
  }

  /** Changes the chosen span; with none chosen, a label is kept for the next one. */
  change(fields) {
    this.flush();
    const span = this.edits.get(this.selected);
    if (fields.label) this.label = fields.label;
    if (!span) { this.paint(); return; }
    if (!this.editable()) return;
    if (Object.entries(fields).every(([name, value]) => span[name] === value)) return;
    this.edits.put({ ...span, ...fields });
    if (fields.label) this.say(this.titleOf(fields.label));
  }

  setEdge(name, value) {
    const span = this.edits.get(this.selected);
    if (!span || !Number.isInteger(value)) { this.fillEditor(); return; }
    const at = clamp(value, 0, this.meta.frames - 1);
    this.change(name === "start" ? { start: at, end: Math.max(at, span.end) } : { end: at, start: Math.min(at, span.start) });
    this.seek(at);
  }

  /** Moves an edge by a frame; a run of such keys is one edit. */
  nudge(name, n) {
    const span = this.chosen();
    if (!span || !this.editable()) return;
    const at = name === "start" ? clamp(span.start + n, 0, span.end) : clamp(span.end + n, span.start, this.meta.frames - 1);
    this.nudged = { ...span, [name]: at };
    clearTimeout(this.nudgeTimer);
    this.nudgeTimer = setTimeout(() => this.flush(), 350);
    this.seek(at);
    this.spansChanged();
  }

  /** Commits what is still in the hand: a nudged edge, a note that is being typed. */
  flush() {
    clearTimeout(this.nudgeTimer);
    const moved = this.nudged;
    this.nudged = null;
    if (moved && this.edits.get(moved.id)) this.edits.put(moved);
    const note = this.ui.note;
    const owner = this.edits.get(note.dataset.span);
    if (this.shadow.activeElement === note && owner && owner.note !== note.value && this.meta?.can_edit) this.edits.put({ ...owner, note: note.value });
  }

  remove() {
    this.flush();
    if (!this.selected || !this.editable()) return;
    const id = this.selected;
    this.selected = null;
    this.edits.remove(id);
    this.say("span deleted");
    this.focus();
  }

  undo() {
    this.flush();
    const edit = this.edits.undo();
    if (!edit) { this.say("nothing to undo"); return; }
    if (this.edits.get(edit.id)) this.selected = edit.id;
    this.say("undone");
    this.spansChanged();
  }

  redo() {
    this.flush();
    const edit = this.edits.redo();
    if (!edit) { this.say("nothing to redo"); return; }
    if (this.edits.get(edit.id)) this.selected = edit.id;
    this.say("redone");
    this.spansChanged();
  }

  markIn() { if (this.editable()) { this.pendingIn = this.wanted; this.say(`from ${this.wanted}: press O at the last frame`); this.paint(); } }

  markOut() {
    if (this.pendingIn === null) { this.say("press I at the first frame, then O at the last"); return; }
    const start = this.pendingIn;
    this.pendingIn = null;
    this.add(start, this.wanted);
  }

  escape() {
    if (this.ui.sheet.classList.contains("on")) { this.help(false); return; }
    if (this.drag) { this.drag = null; } else if (this.pendingIn !== null) this.pendingIn = null;
    else if (this.selected) this.select(null);
    this.focus();
    this.spansChanged();
  }

  // -- the pointer

  point(event) {
    const box = this.ui.canvas.getBoundingClientRect();
    return { x: (event.clientX - box.left) * (this.timeline.width / box.width), y: (event.clientY - box.top) * (this.timeline.height / box.height) };
  }

  pointerDown(event) {
    if (event.button !== 0 || !this.meta) return;
    event.preventDefault();
    this.flush();
    this.focus();
    this.play(false);
    this.ui.canvas.setPointerCapture(event.pointerId);
    const { x, y } = this.point(event);
    const hit = this.timeline.hit(x, y, this.edits.spans, this.selected);
    const k = this.timeline.frameAt(x);
    this.drag = { ...hit, span: null, x, k, original: hit.span ? { ...hit.span } : null, moved: false };
    if (hit.span) { this.selected = hit.span.id; if (hit.part !== "body") this.seek(hit.part === "start" ? hit.span.start : hit.span.end); else this.seek(k); this.spansChanged(); this.linkSoon(); }
    else this.seek(k);
  }

  pointerMove(event) {
    if (!this.meta) return;
    const { x, y } = this.point(event);
    const k = this.timeline.frameAt(x);
    const drag = this.drag;
    if (!drag) {
      const hit = this.timeline.hit(x, y, this.edits.spans, this.selected);
      this.ui.canvas.style.cursor = hit.part === "start" || hit.part === "end" ? "ew-resize" : hit.part === "body" ? "grab" : hit.part === "lane" && this.meta.can_edit ? "crosshair" : "pointer";
      if (this.hover !== k) { this.hover = x >= GUTTER ? k : null; this.paint(); }
      return;
    }
    this.hover = null;
    if (Math.abs(x - drag.x) >= 3) drag.moved = true;
    const n = this.meta.frames;
    if (drag.part === "axis" || !this.meta.can_edit) { this.seek(k); return; }
    if (!drag.moved) return;
    const was = drag.original;
    if (drag.part === "lane") { this.pendingIn = drag.k; this.seek(k); return; }
    if (drag.part === "start") drag.span = { ...was, start: Math.min(k, was.end) };
    if (drag.part === "end") drag.span = { ...was, end: Math.max(k, was.start) };
    if (drag.part === "body") {
      const by = clamp(k - drag.k, -was.start, n - 1 - was.end);
      drag.span = { ...was, start: was.start + by, end: was.end + by };
    }
    this.seek(drag.part === "start" ? drag.span.start : drag.part === "end" ? drag.span.end : k);
    this.spansChanged();
  }

  pointerUp(event) {
    const drag = this.drag;
    this.drag = null;
    if (!drag) return;
    const gone = event.type === "pointercancel";
    if (drag.part === "lane" && drag.moved && this.pendingIn !== null) {
      this.pendingIn = null;
      if (!gone) this.add(drag.k, this.wanted);
    } else if (drag.part === "lane" && !gone) this.select(null, false);
    else if (drag.span && !gone && (drag.span.start !== drag.original.start || drag.span.end !== drag.original.end)) this.edits.put(drag.span);
    this.spansChanged();
  }

  // -- the outside

  navigate(n) {
    this.flush();
    if (this.meta?.items) this.model.send({ kind: "navigate", rollout: this.meta.id, step: n });
    else this.say("there is no queue of rollouts here");
  }

  branch() {
    if (!this.meta?.can_branch) { this.say("branching is not available here"); return; }
    this.play(false);
    this.model.send({ kind: "branch", rollout: this.meta.id, frame: this.wanted });
    this.say(`branch at frame ${this.wanted}`);
  }

  received(message) {
    if (message?.kind === "ack") {
      const ack = this.edits.answer(message);
      if (ack && !ack.ok) this.say(`not saved: ${ack.error}`, true);
    } else if (message?.kind === "seek" && Number.isInteger(message.frame)) this.seek(message.frame);
    else if (message?.kind === "say") this.say(String(message.text), Boolean(message.bad));
  }

  pulled() { if (this.meta && !this.edits.unsaved()) this.edits.open(this.meta.id, this.model.get("spans") ?? []); }

  linkTo() {
    const url = new URL(this.meta.link || location.href, location.href);
    url.searchParams.set("rollout", this.meta.id);
    url.searchParams.set("f", String(this.wanted));
    if (this.selected) url.searchParams.set("span", this.selected); else url.searchParams.delete("span");
    return url;
  }

  /**
   * Keeps the address in step where the host owns its page; rarely, as browsers limit how often. Whoever has gone
   * elsewhere meanwhile (Back, the gallery) keeps the address of where they are.
   */
  linkSoon() {
    if (!this.meta?.owns_address || (this.link && this.link.rollout)) return;
    clearTimeout(this.linkTimer);
    const here = location.href;
    this.linkTimer = setTimeout(() => {
      if (this.meta && this.el.isConnected && this.el.getClientRects().length && location.href === here) history.replaceState(history.state, "", this.linkTo());
    }, 300);
  }

  async copyLink() {
    const text = this.linkTo().href;
    try {
      await navigator.clipboard.writeText(text);
      this.say("link copied");
    } catch {
      this.say(text);  // no clipboard without a secure origin: show it to be copied by hand
    }
  }

  say(text, bad = false) {
    const { toast, live } = this.ui;
    toast.textContent = text;
    live.textContent = text;
    toast.classList.toggle("bad", bad);
    toast.classList.add("on");
    clearTimeout(this.toastTimer);
    this.toastTimer = setTimeout(() => toast.classList.remove("on"), bad ? 6000 : 1600);
  }

  help(on = !this.ui.sheet.classList.contains("on")) {
    const { sheet } = this.ui;
    sheet.classList.toggle("on", on);
    if (!on) { this.focus(); return; }
    const close = h("button", { type: "button", class: "solid", text: "Close (Esc)", onclick: () => this.help(false) });
    const cols = h("div", { class: "cols" });
    let section = null;
    for (const key of KEYS.filter((candidate) => candidate.does)) {
      if (key.section !== section) { section = key.section; cols.append(h("h4", { text: section })); }
      cols.append(h("div", { class: "item" }, h("span", { text: key.does }), h("span", {}, ...key.shown.flatMap((name, i) => [i ? " " : "", h("kbd", { text: name })]))));
    }
    cols.append(h("h4", { text: "labels" }), ...(this.meta?.labels ?? []).slice(0, 10).map((label, i) => h("div", { class: "item" }, h("span", { text: label.title }), h("kbd", { text: String((i + 1) % 10) }))));
    sheet.replaceChildren(h("div", { class: "title-line" }, h("h2", { text: "Keys" }), close), cols);
    close.focus();
  }

  // -- drawing what changed

  paint() {
    const { ui, timeline, meta } = this;
    if (!meta || !timeline.width) return;
    ui.speed.textContent = `${this.speed}×`;
    ui.trim.textContent = this.trim > 0 ? `+${this.trim}` : String(this.trim);
    if (this.shownLabel !== this.label) {
      this.shownLabel = this.label;
      const chip = h("span", { class: "chip" });
      chip.style.background = LABEL_COLOURS[this.slotOf(this.label)] ?? LABEL_COLOURS.at(-1);
      ui.next.replaceChildren(h("span", { class: "k", text: "next" }), chip, this.titleOf(this.label));
    }
    timeline.paint({ frame: this.frame, hover: this.hover, trim: this.trim, spans: this.spans(), selected: this.selected, pendingIn: this.pendingIn, slot: (key) => this.slotOf(key), title: (key) => this.titleOf(key) });
  }

  /** What it holds, for tests and benchmarks. */
  measure() {
    const bitmaps = this.frames?.kept() ?? 0;
    const each = (this.meta?.width ?? 0) * (this.meta?.height ?? 0) * 4;
    return { ...this.stats, bitmaps, bytes: bitmaps * each, peakBytes: (this.frames?.peak ?? 0) * each, packBytes: this.frames?.panes.reduce((sum, pane) => sum + (pane.bytes?.length ?? 0), 0) ?? 0 };
  }
}

function readLink() {
  const query = new URLSearchParams(location.search);
  if (!query.get("rollout")) return null;
  const frame = Number.parseInt(query.get("f") ?? "", 10);
  return { rollout: query.get("rollout"), frame: Number.isInteger(frame) ? frame : null, span: query.get("span"), asked: false };
}

// ------------------------------------------------------------------------------------------------- keys

const plain = (event) => !event.ctrlKey && !event.metaKey && !event.altKey;
const arrow = (name, test) => (event) => event.key === name && test(event);
const letter = (name) => (event) => plain(event) && event.key.toLowerCase() === name;
const sign = (name) => (event) => event.key === name;  // wherever the keyboard has it, AltGr or not
const digit = (event) => (/^(?:Digit|Numpad)(\d)$/.exec(event.code) ?? [])[1];
const command = (event) => (event.ctrlKey || event.metaKey) && !event.altKey;

/** Every key: when it applies, what it does, and how the sheet shows it. */
const KEYS = [
  { section: "move", shown: ["←", "→"], does: "one frame", test: arrow("ArrowLeft", (e) => plain(e) && !e.shiftKey), run: (s) => s.step(-1) },
  { test: arrow("ArrowRight", (e) => plain(e) && !e.shiftKey), run: (s) => s.step(1) },
  { section: "move", shown: ["Shift+←", "Shift+→"], does: "to the chunk's boundary", test: arrow("ArrowLeft", (e) => plain(e) && e.shiftKey), run: (s) => s.chunk(-1) },
  { test: arrow("ArrowRight", (e) => plain(e) && e.shiftKey), run: (s) => s.chunk(1) },
  { section: "move", shown: ["Home", "End"], does: "first and last frame", test: (e) => plain(e) && e.key === "Home", run: (s) => { s.play(false); s.seek(0); } },
  { test: (e) => plain(e) && e.key === "End", run: (s) => { s.play(false); s.seek(Infinity); } },
  { section: "move", shown: ["Space"], does: "play, pause", test: (e) => plain(e) && e.key === " ", run: (s) => s.play(!s.playing) },
  { section: "move", shown: ["[", "]"], does: "slower, faster", test: sign("["), run: (s) => s.faster(-1) },
  { test: sign("]"), run: (s) => s.faster(1) },
  { section: "move", shown: ["{", "}"], does: "trim: shift real by a frame", test: sign("{"), run: (s) => s.setTrim(s.trim - 1) },
  { test: sign("}"), run: (s) => s.setTrim(s.trim + 1) },
  { section: "move", shown: ["P", "N"], does: "previous, next item", test: letter("p"), run: (s) => s.navigate(-1) },
  { test: letter("n"), run: (s) => s.navigate(1) },
  { section: "spans", shown: ["I", "O"], does: "first and last frame of a new span", test: letter("i"), run: (s) => s.markIn() },
  { test: letter("o"), run: (s) => s.markOut() },
  { section: "spans", shown: ["1", "…", "9", "0"], does: "label the span, or the next one", test: (e) => plain(e) && !e.shiftKey && digit(e), run: (s, e) => { const label = s.meta.labels[(Number(digit(e)) + 9) % 10]; if (label) s.change({ label: label.key }); } },
  { section: "spans", shown: ["Shift+1", "2", "3"], does: "severity", test: (e) => plain(e) && e.shiftKey && /[123]/.test(digit(e) ?? ""), run: (s, e) => s.change({ severity: Number(digit(e)) }) },
  { section: "spans", shown: ["Enter", "M"], does: "write the note", test: (e) => plain(e) && (e.key === "Enter" || e.key.toLowerCase() === "m"), run: (s) => { if (s.chosen()) s.ui.note.focus(); } },
  { section: "spans", shown: ["J", "K"], does: "next, previous span", test: letter("j"), run: (s) => s.neighbour(1) },
  { test: letter("k"), run: (s) => s.neighbour(-1) },
  { section: "spans", shown: ["Alt+←", "Alt+→"], does: "move the span's first frame", test: arrow("ArrowLeft", (e) => e.altKey && !e.shiftKey), run: (s) => s.nudge("start", -1) },
  { test: arrow("ArrowRight", (e) => e.altKey && !e.shiftKey), run: (s) => s.nudge("start", 1) },
  { section: "spans", shown: ["Alt+Shift+←", "→"], does: "move its last frame", test: arrow("ArrowLeft", (e) => e.altKey && e.shiftKey), run: (s) => s.nudge("end", -1) },
  { test: arrow("ArrowRight", (e) => e.altKey && e.shiftKey), run: (s) => s.nudge("end", 1) },
  { section: "spans", shown: ["Delete"], does: "delete the span", test: (e) => plain(e) && (e.key === "Delete" || e.key === "Backspace"), run: (s) => s.remove() },
  { section: "spans", shown: ["Ctrl+Z"], does: "undo", test: (e) => command(e) && !e.shiftKey && e.key.toLowerCase() === "z", run: (s) => s.undo() },
  { section: "spans", shown: ["Ctrl+Shift+Z", "Ctrl+Y"], does: "redo", test: (e) => command(e) && ((e.shiftKey && e.key.toLowerCase() === "z") || e.key.toLowerCase() === "y"), run: (s) => s.redo() },
  { section: "more", shown: ["B"], does: "branch here", test: letter("b"), run: (s) => s.branch() },
  { section: "more", shown: ["L"], does: "copy a link to this frame", test: letter("l"), run: (s) => s.copyLink() },
  { section: "more", shown: ["Esc"], does: "let go: span, mark, field, sheet", test: (e) => e.key === "Escape", run: (s) => s.escape() },
  { section: "more", shown: ["?"], does: "this sheet", test: sign("?"), run: (s) => s.help() },
].map((key) => ({ shown: [], ...key }));

function onKey(scrubber, event) {
  const target = event.composedPath()[0];
  const typing = target instanceof HTMLElement && target.matches("input, textarea, select");
  event.stopPropagation();  // the host's own shortcuts must not fire as well
  if (event.isComposing || !scrubber.meta) return;
  if (typing) {
    if (event.key === "Escape" || (target.matches("textarea") && event.key === "Enter" && (event.ctrlKey || event.metaKey))) {
      event.preventDefault();
      scrubber.focus();  // leaving the field commits it
    }
    return;
  }
  if (scrubber.ui.sheet.classList.contains("on")) {
    if (event.key === "Escape" || event.key === "?") { event.preventDefault(); scrubber.help(false); }
    return;
  }
  if (target instanceof HTMLElement && target.matches("button") && (event.key === " " || event.key === "Enter")) return;
  const key = KEYS.find((candidate) => candidate.test(event));
  if (!key) return;
  event.preventDefault();
  key.run(scrubber, event);
}

// ------------------------------------------------------------------------------------------------ hosts

/** The widget, as anywidget wants it. Returns what takes it down again. */
function render({ model, el }) {
  const controller = new AbortController();
  const host = h("div");
  el.replaceChildren(host);
  new Scrubber(model, host, controller.signal);
  // A host without an unmount hook (Gradio) drops the element: see that, and let everything go.
  const seen = new MutationObserver(() => {
    if (host.isConnected) host.dataset.seen = "true";
    else if (host.dataset.seen) { seen.disconnect(); controller.abort(); }
  });
  if (host.isConnected) host.dataset.seen = "true";
  seen.observe(document.body, { childList: true, subtree: true });
  controller.signal.addEventListener("abort", () => seen.disconnect());
  return () => controller.abort();
}

/** The same widget inside gr.HTML: `value` = {meta, packs, spans} plays the model, a server function the kernel.
 *
 * `call(message)` resolves to Python's answer; what is not an edit is also triggered as a Gradio event, so that
 * the page's own listeners can act on it.
 */
export function mountGradio({ element, props, watch, trigger, call }) {
  const listeners = new Map();
  const emit = (name, ...args) => { for (const act of [...(listeners.get(name) ?? [])]) act(...args); };
  const value = () => (props.value && typeof props.value === "object" ? props.value : {});
  const model = {
    get: (name) => value()[name],
    set: () => {},
    save_changes: () => {},
    on: (name, act) => listeners.set(name, [...(listeners.get(name) ?? []), act]),
    off: (name, act) => listeners.set(name, (listeners.get(name) ?? []).filter((other) => other !== act)),
    send: async (message) => {
      if (message.kind !== "edit") { trigger(message.kind, message); return; }
      let answer;
      try {
        answer = await call(message);
        if (answer?.kind !== "ack") throw new Error("the server did not answer as it should");
      } catch (error) {
        answer = { kind: "ack", event: message.event, ok: false, retry: true, error: String(error?.message || "the server cannot be reached") };
      }
      emit("msg:custom", answer, []);
      if (answer.ok) trigger("saved", { rollout: message.rollout, event: message.event });
    },
  };
  const host = element.querySelector(".wovr-scrubber") ?? element;
  const close = render({ model, el: host });
  let last = JSON.stringify(value().meta ?? null);
  watch("value", () => {
    const now = JSON.stringify(value().meta ?? null);
    if (now !== last) emit("change:meta");
    else emit("change:spans");
    last = now;
  });
  return close;
}

export default { render };
