/* Page Inspect: the gallery with its filters, and the evidence beside the scrubber.
 *
 * What Python hands over (apps/pages/inspect.py, workbench/store/items.py) reaches the page through textContent and
 * attributes alone; nothing is ever parsed as HTML. The address holds the whole state: filters, text, order, page,
 * and of an open item ?rollout=ID, to which the scrubber adds frame and span.
 */

import { answerTo, el as h, plural } from "./dom.js";
import { SavedFilters } from "./inspect_saved.js";

const FILTERS = ["verdict", "outcome", "label", "run", "kind", "task", "depth", "policy", "world_model"];
const PATIENCE = 30_000;

// -------------------------------------------------------------------------------------------- address

function readAddress() {
  const query = new URLSearchParams(location.search);
  const filters = {};
  for (const key of FILTERS) if (query.getAll(key).length) filters[key] = query.getAll(key);
  const page = Number.parseInt(query.get("page") ?? "1", 10);
  return {
    filters,
    text: (query.get("q") ?? "").slice(0, 200),
    order: query.get("order") ?? "suspicion",
    flagged: query.get("flagged") === "1",
    page: Number.isInteger(page) && page > 0 ? page - 1 : 0,
  };
}

function address(query, rollout = null) {
  const url = new URL(location.href);
  url.hash = "";
  url.search = "";
  for (const [key, values] of Object.entries(query.filters)) for (const value of values) url.searchParams.append(key, value);
  if (query.text) url.searchParams.set("q", query.text);
  if (query.order !== "suspicion") url.searchParams.set("order", query.order);
  if (query.flagged) url.searchParams.set("flagged", "1");
  if (query.page) url.searchParams.set("page", String(query.page + 1));
  if (rollout) url.searchParams.set("rollout", rollout);
  return url;
}

const linked = () => new URLSearchParams(location.search).get("rollout");

// ----------------------------------------------------------------------------------------------- page

export function mount({ element, props, watch, emit, ask, saved }) {
  const host = element.querySelector(".wovr-inspect") ?? element;
  const page = new Page(host, props, emit, ask, saved);
  watch("value", () => page.arrived(props.value));
  host.wovrInspect = page;
  return page;
}

class Page {
  constructor(host, props, emit, ask, saved) {
    Object.assign(this, { host, props, emit, ask, query: readAddress(), answer: null, asked: 0, evidence: null });
    this.saved = new SavedFilters({ ask: saved, now: () => this.query, apply: (query) => this.useSaved(query) });
    this.build();
    addEventListener("popstate", () => this.followAddress());
    this.refresh();
    if (linked()) this.open(linked(), null); else this.view("gallery");
  }

  build() {
    const ui = (this.ui = {});
    ui.count = h("span", { class: "count", "aria-live": "polite" });
    ui.search = h("input", { type: "search", placeholder: "search id, instruction", "aria-label": "search", value: this.query.text, maxlength: 200,
      oninput: () => { clearTimeout(this.typing); this.typing = setTimeout(() => this.change({ text: ui.search.value.trim() }), 180); } });
    ui.order = h("select", { "aria-label": "order", onchange: () => this.change({ order: ui.order.value }) });
    ui.again = h("button", { type: "button", text: "Look again", title: "look for new runs and rollouts", onclick: () => this.refresh(true) });
    ui.top = h("header", { class: "wovr-top" }, h("h1", { text: "Inspect" }), ui.count, h("span", { class: "gap" }),
      ui.search, h("label", {}, "order", ui.order), ui.again);
    ui.rail = h("nav", { class: "wovr-rail", "aria-label": "filters" });
    ui.problems = h("div");
    ui.grid = h("div", { class: "wovr-grid" });
    ui.pages = h("div", { class: "wovr-pages", hidden: true });
    ui.blank = h("div", { class: "wovr-blank", hidden: true });
    ui.main = h("section", { "aria-label": "rollouts", class: "wovr-main" }, ui.problems, ui.grid, ui.pages, ui.blank);
    ui.gallery = h("div", { class: "wovr-gallery" }, ui.top, h("div", { class: "wovr-body" }, ui.rail, ui.main));
    ui.item = h("aside", { class: "wovr-item", "aria-label": "evidence", hidden: true });
    this.host.replaceChildren(ui.gallery, ui.item);
    ui.grid.append(...Array.from({ length: 6 }, ghost));
  }

  view(name) {
    document.body.dataset.wovrView = name;
    this.ui.gallery.hidden = name !== "gallery";
    this.ui.item.hidden = name !== "item";
  }

  // -- the gallery

  change(part) {
    this.query = { ...this.query, page: 0, ...part };
    history.replaceState(history.state, "", address(this.query));
    this.refresh();
  }

  async refresh(again = false) {
    const turn = ++this.asked;
    this.ui.grid.classList.add("stale");
    const answer = await answerTo({ ...this.query, again }, this.ask);
    if (turn !== this.asked) return;  // a later question is on its way
    this.ui.grid.classList.remove("stale");
    this.answer = answer;
    this.host.dataset.state = answer.error ? "error" : answer.all ? "ready" : "empty";
    if (answer.error) this.failed(answer.error); else this.fill(answer);
  }

  failed(why) {
    const { ui } = this;
    ui.grid.replaceChildren();
    ui.pages.hidden = true;
    ui.blank.hidden = false;
    ui.blank.replaceChildren(h("h2", { text: "The gallery could not be loaded" }), h("p", { class: "why", text: why }),
      h("div", { class: "acts" }, h("button", { type: "button", class: "main", text: "Try again", onclick: () => this.refresh(true) }),
        h("button", { type: "button", text: "Clear filters", onclick: () => this.clear() })));
  }

  clear() {
    this.ui.search.value = "";
    this.change({ filters: {}, text: "", flagged: false });
  }

  useSaved(query) {
    this.ui.search.value = query.text;
    this.change({ filters: query.filters, text: query.text, flagged: query.flagged, order: query.order });
  }

  fill(answer) {
    const { ui } = this;
    this.query.page = answer.page;
    ui.count.replaceChildren(h("b", { text: answer.total.toLocaleString("en") }), ` of ${plural(answer.all, "rollout")}`);
    ui.order.replaceChildren(...answer.orders.map((order) => h("option", { value: order.key, text: order.title, selected: order.key === this.query.order })));
    ui.problems.replaceChildren(...answer.problems.map((p) => h("div", { class: "wovr-problem", role: "alert" }, h("b", { text: `${p.run} cannot be shown: ` }), p.reason)));
    this.fillRail(answer);
    ui.rail.hidden = !answer.all;
    ui.grid.replaceChildren(...answer.cards.map((card) => this.card(card)));
    ui.pages.hidden = answer.pages < 2;
    const turn = (text, by) => h("button", { type: "button", text, disabled: answer.page + by < 0 || answer.page + by >= answer.pages,
      onclick: () => { this.change({ page: answer.page + by }); scrollTo({ top: 0 }); } });
    ui.pages.replaceChildren(turn("‹ previous", -1), h("span", { text: `page ${answer.page + 1} of ${answer.pages}` }), turn("next ›", 1));
    ui.blank.hidden = answer.total > 0;
    if (!answer.all) {
      ui.blank.replaceChildren(h("h2", { text: "No run to look at yet" }),
        h("p", { text: "A run holds what a world model imagined, what the same actions really did, and how a policy learned from it. Make a small one (about 12 minutes on two cores):" }),
        h("pre", { text: "wovr demo" }),
        h("p", { text: `Then press “Look again”. Runs are looked for in ${answer.home}; other folders can be named: wovr app PATH` }),
        h("div", { class: "acts" }, h("button", { type: "button", class: "main", text: "Look again", onclick: () => this.refresh(true) })));
    } else if (!answer.total) {
      ui.blank.replaceChildren(h("h2", { text: "Nothing passes these filters" }), h("p", { text: `There are ${plural(answer.all, "rollout")} in all.` }),
        h("div", { class: "acts" }, h("button", { type: "button", class: "main", text: "Clear filters", onclick: () => this.clear() })));
    }
  }

  fillRail(answer) {
    const focused = this.host.contains(document.activeElement) ? document.activeElement?.dataset?.filter : null;
    const held = this.saved.node.contains(document.activeElement) ? document.activeElement : null;
    const closed = new Set([...this.ui.rail.querySelectorAll("details:not([open])")].map((node) => node.dataset.facet));
    const known = this.ui.rail.childElementCount > 0;
    const any = Object.keys(this.query.filters).length || this.query.text || this.query.flagged;
    const box = (facet, value, title, count, on, act) => h("label", { class: count ? "" : "none", title },
      h("input", { type: "checkbox", checked: on, "data-filter": `${facet}=${value}`, onchange: act }), h("span", { text: title }), h("i", { text: String(count) }));
    const facets = answer.facets.filter((facet) => facet.values.length).map((facet) => {
      const on = facet.values.filter((value) => value.on).length;
      const open = on > 0 || (known ? !closed.has(facet.key) : facet.values.length > 1);
      return h("details", { "data-facet": facet.key, open },
        h("summary", {}, h("span", { text: facet.title }), on ? h("span", { class: "on", text: String(on) }) : null),
        ...facet.values.map((value) => box(facet.key, value.key, value.title, value.count, value.on, () => this.toggle(facet.key, value.key))));
    });
    const spans = h("details", { "data-facet": "flagged", open: true }, h("summary", {}, h("span", { text: "annotations" })),
      box("flagged", "1", "flagged", answer.flagged, this.query.flagged, () => this.change({ flagged: !this.query.flagged })));
    const clear = h("button", { type: "button", class: "plain", text: "Clear filters", hidden: !any, onclick: () => this.clear() });
    this.ui.rail.replaceChildren(clear, ...facets, spans, this.saved.node);
    this.saved.mark();
    held?.focus();
    if (focused) this.ui.rail.querySelector(`[data-filter="${CSS.escape(focused)}"]`)?.focus();
  }

  toggle(facet, value) {
    const now = new Set(this.query.filters[facet] ?? []);
    if (!now.delete(value)) now.add(value);
    const filters = { ...this.query.filters, [facet]: [...now] };
    if (!now.size) delete filters[facet];
    this.change({ filters });
  }

  card(card) {
    if (card.broken) {
      return h("article", { class: "wovr-card broken", "data-id": card.id }, h("div", { class: "text" },
        h("div", { class: "one" }, h("span", { class: "wovr-chip unreadable", text: "unreadable" }), h("span", { class: "what", text: card.name })),
        h("div", { class: "why", text: card.broken }), h("div", { class: "two-line" }, h("span", { text: `${card.run} · ${card.stage}` }))));
    }
    const two = card.rows === 2;
    const told = `${two ? "real over imagined frames" : `${card.kind === "real" ? "real" : "imagined"} frames`} of ${card.name}`;
    const image = h("img", { alt: told, loading: "lazy", decoding: "async", src: new URL(this.props.pictures + card.picture, document.baseURI).href });
    const film = h("div", { class: two ? "wovr-film two" : "wovr-film" }, image, h("i", { class: card.kind === "real" ? "mark real" : "mark" }), two ? h("i", { class: "mark real" }) : null);
    image.addEventListener("error", () => { image.remove(); film.append(h("div", { class: "veil", text: "its pictures cannot be read" })); }, { once: true });
    const audited = card.verdict !== "not_audited";
    const chip = audited ? h("span", { class: `wovr-chip ${card.verdict}`, text: card.verdict_title })
      : h("span", { class: `wovr-chip ${card.outcome === "succeeded" ? "good" : card.outcome === "imagined_success" ? "warn" : ""}`, text: card.outcome_title });
    const facts = card.kind === "real" ? [`${card.length} actions`] : [`depth ${card.depth} of ${card.length}`];
    if (card.p_success !== null) facts.push(`p ${card.p_success.toFixed(2)}`);
    if (card.peak !== null) facts.push(`difference ≤ ${card.peak.toFixed(1)}`);
    const link = address(this.query, card.id);
    return h("a", { class: "wovr-card", href: link.href, "data-id": card.id, title: card.name,
      onclick: (event) => { if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return; event.preventDefault(); this.open(card.id, link); } },
    film, h("div", { class: "text" },
      h("div", { class: "one" }, chip, h("span", { class: "what", text: card.instruction }), card.spans ? h("span", { class: "spans", text: plural(card.spans, "span") }) : null),
      h("div", { class: "two-line" }, ...facts.map((text) => h("span", { text })), spark(card.divergence), h("span", { class: "gap" }), h("span", { text: `${card.run} · ${card.stage}`, title: `${card.run} · ${card.stage}` }))));
  }

  // -- one item

  open(id, link) {
    if (link) history.pushState({ wovr: "item" }, "", link);
    this.wanted = id;
    delete document.body.dataset.wovrFailed;
    document.body.dataset.wovrBusy = "";
    this.ui.item.replaceChildren(this.back(), h("p", { class: "kind", text: "opening …" }));
    this.view("item");
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.arrived({ id, error: "The server did not answer in time; look at its log, then try again." }), PATIENCE);
    this.emit("show", { id, query: this.query });
  }

  arrived(evidence) {
    if (!evidence || typeof evidence !== "object") return;
    if (document.body.dataset.wovrView !== "item") return;  // left before it came
    clearTimeout(this.waiting);
    delete document.body.dataset.wovrBusy;
    this.evidence = evidence;
    this.ui.item.dataset.id = evidence.id;
    if (evidence.error) { this.notOpened(evidence); return; }
    delete document.body.dataset.wovrFailed;
    const real = evidence.verdict === "not_audited";
    this.ui.item.replaceChildren(this.back(), h("p", { class: "task", text: `“${evidence.instruction}”` }),
      h("div", { class: "verdict" }, h("span", { class: `wovr-chip ${evidence.verdict}`, text: real ? evidence.kind_title : evidence.verdict_title }), real ? null : h("span", { class: "kind", text: evidence.kind_title })),
      ...evidence.groups.map((group) => h("section", {}, h("h3", { text: group.title }), h("dl", {}, ...group.rows.map((row) => this.fact(row))))),
      ...(evidence.imagined ? [this.branchLink(evidence.id)] : []));
    this.focusScrubber(evidence.id);
  }

  fact(row) {
    const tone = /^(good|bad|warn)$/.test(row.tone) ? row.tone : "";
    const value = row.frame === null || row.frame === undefined ? h("dd", { class: tone, text: row.value })
      : h("dd", {}, h("button", { type: "button", class: "jump", text: row.value, title: `go to frame ${row.frame}`, onclick: () => { const s = scrubber(); s?.seek(row.frame); s?.focus(); } }));
    return h("div", { class: "fact" }, h("dt", { text: row.label }), value);
  }

  back() {
    return h("div", { class: "head" }, h("button", { type: "button", text: "‹ Gallery", onclick: () => this.leave() }));
  }

  /** Leads to page Branch, at the frame that the scrubber stands at (it keeps it in the address). */
  branchLink(id) {
    const target = () => {
      const frame = new URLSearchParams(location.search).get("f");
      return `branch?${new URLSearchParams({ rollout: id, ...(frame ? { frame } : {}) })}`;
    };
    const link = h("a", { class: "wovr-button", href: target(), text: "Branch from this frame" });
    link.addEventListener("click", () => { link.href = target(); });
    return link;
  }

  notOpened(evidence) {
    document.body.dataset.wovrFailed = "";
    const title = evidence.missing ? "There is no such rollout" : "This rollout cannot be opened";
    const why = evidence.missing ? "The link may be old, or its run was moved or deleted." : evidence.error;
    this.ui.item.replaceChildren(this.back(), h("div", { class: "wovr-blank" }, h("h2", { text: title }), h("p", { text: evidence.id }), h("p", { class: "why", text: why }),
      h("div", { class: "acts" }, h("button", { type: "button", class: "main", text: "Back to the gallery", onclick: () => this.leave() }))));
  }

  /** The scrubber gets its value by its own way; hand it the keys once it shows this item. */
  focusScrubber(id, tries = 120) {
    const s = scrubber();
    if (s?.meta?.id === id) s.focus();
    else if (tries) requestAnimationFrame(() => this.focusScrubber(id, tries - 1));
  }

  leave() {
    if (this.evidence?.missing) location.assign(address(this.query));  // the scrubber still waits for the dead link
    else if (history.state?.wovr === "item") history.back(); else { history.replaceState(null, "", address(this.query)); this.toGallery(); }
  }

  toGallery() {
    const id = this.evidence?.id ?? this.wanted;
    clearTimeout(this.waiting);
    delete document.body.dataset.wovrBusy;
    delete document.body.dataset.wovrFailed;
    scrubber()?.play(false);
    this.view("gallery");
    this.refresh().then(() => { if (id) this.ui.grid.querySelector(`[data-id="${CSS.escape(id)}"]`)?.focus(); });
  }

  followAddress() {
    const id = linked();
    if (id) { this.open(id, null); return; }
    this.query = readAddress();
    this.ui.search.value = this.query.text;
    this.toGallery();
  }
}

// -------------------------------------------------------------------------------------------- helpers

function ghost() {
  return h("div", { class: "wovr-card ghost", "aria-hidden": "true" }, h("div", { class: "wovr-film two" }), h("div", { class: "text" }, h("div", { class: "bar" }), h("div", { class: "bar" })));
}

function spark(values) {
  if (!values || values.length < 2) return null;
  const make = (tag, attributes) => { const node = document.createElementNS("http://www.w3.org/2000/svg", tag); for (const [k, v] of Object.entries(attributes)) node.setAttribute(k, v); return node; };
  const top = Math.max(16, ...values);
  const points = values.map((v, i) => `${((i / (values.length - 1)) * 76).toFixed(1)},${(14 - (v / top) * 13).toFixed(1)}`).join(" ");
  const svg = make("svg", { viewBox: "0 0 76 15", role: "img", "aria-label": "difference over the frames" });
  svg.append(make("polyline", { points, fill: "none", stroke: "var(--divergence)", "stroke-width": "1.4", "stroke-linejoin": "round" }));
  return svg;
}

function scrubber() {
  for (const node of document.querySelectorAll("#wovr-scrubber .wovr-scrubber, #wovr-scrubber .wovr-scrubber *")) if (node.wovrScrubber) return node.wovrScrubber;
  return null;
}
