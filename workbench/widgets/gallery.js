/* The gallery in a notebook (workbench/widgets/gallery.py). Texts reach the page through textContent alone. */

function h(tag, props = {}, ...children) {
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

function render({ model, el }) {
  const ender = new AbortController(), urls = new Set();
  let count = 0, waiting = "", query = { filters: {}, text: "", order: "suspicion", page: 0, ...structuredClone(model.get("query")) };
  const dark = document.body.dataset.jpThemeLight === "false" || (document.body.dataset.jpThemeLight === undefined && matchMedia("(prefers-color-scheme: dark)").matches);
  el.classList.add("wovr-gallery-widget");
  el.classList.toggle("dark", dark);
  for (const name of ["keydown", "keyup", "keypress"]) el.addEventListener(name, (event) => event.stopPropagation(), { signal: ender.signal });

  const told = h("span", { role: "status", "aria-live": "polite" }), trouble = h("div", { class: "trouble", role: "alert", hidden: true });
  const search = h("input", { type: "search", placeholder: "search id, instruction", "aria-label": "search", value: query.text, oninput: () => { clearTimeout(search.timer); search.timer = setTimeout(() => change({ text: search.value.trim() }), 200); } });
  const order = h("select", { "aria-label": "order", onchange: () => change({ order: order.value }) });
  const facets = h("div", { class: "facets" }), grid = h("div", { class: "grid" }), pages = h("div", { class: "pages" });
  el.replaceChildren(h("div", { class: "top" }, told, search, order, h("button", { type: "button", text: "Look again", onclick: () => ask(true) })), facets, trouble, grid, pages);

  const change = (part) => { query = { ...query, page: 0, ...part }; ask(); };

  function ask(again = false) {
    waiting = `${Date.now()}-${++count}`;
    el.dataset.state = "loading";
    if (!grid.childElementCount) told.textContent = "Reading …";
    model.send({ kind: "ask", id: waiting, query: { ...query, again } });
  }

  function heard(content, buffers) {
    if (content?.kind === "trouble") { trouble.textContent = content.text; trouble.hidden = false; return; }
    if (content?.kind !== "answer" || content.id !== waiting) return;
    const { answer } = content;
    el.dataset.state = answer.error ? "error" : answer.all ? "ready" : "empty";
    trouble.hidden = !answer.error;
    trouble.textContent = answer.error ?? "";
    if (!answer.error) fill(answer, buffers ?? []);
  }

  function fill(answer, buffers) {
    for (const url of urls) URL.revokeObjectURL(url);
    urls.clear();
    query.page = answer.page;
    told.textContent = `${answer.total.toLocaleString("en")} of ${answer.all.toLocaleString("en")} rollouts and episodes`;
    order.replaceChildren(...answer.orders.map((one) => h("option", { value: one.key, text: one.title, selected: one.key === query.order })));
    facets.replaceChildren(...answer.facets.filter((facet) => facet.values.length > 1 || facet.values.some((value) => value.on)).map((facet) => {
      const select = h("select", { "aria-label": facet.title, "data-facet": facet.key, onchange: () => { const filters = { ...query.filters }; delete filters[facet.key]; if (select.value) filters[facet.key] = [select.value]; change({ filters }); } },
        h("option", { value: "", text: `any ${facet.title}` }), facet.values.map((value) => h("option", { value: value.key, text: `${value.title} (${value.count})`, selected: value.on })));
      return select;
    }));
    grid.replaceChildren(...answer.cards.map((card) => tile(card, buffers)));
    if (!answer.total) grid.append(h("p", { class: "none", text: answer.all ? "Nothing passes these filters." : "No run to look at yet; make one with `wovr demo`, then look again." }));
    for (const problem of answer.problems) grid.append(h("p", { class: "none", text: `${problem.run} cannot be shown: ${problem.reason}` }));
    const turn = (text, by) => h("button", { type: "button", text, disabled: answer.page + by < 0 || answer.page + by >= answer.pages, onclick: () => change({ page: answer.page + by }) });
    pages.replaceChildren(...(answer.pages > 1 ? [turn("‹ previous", -1), h("span", { text: `page ${answer.page + 1} of ${answer.pages}` }), turn("next ›", 1)] : []));
    mark();
  }

  function tile(card, buffers) {
    const data = card.buffer === null ? null : buffers[card.buffer];
    let picture = h("div", { class: "veil", text: card.broken ?? "its pictures cannot be read" });
    if (data) {
      const url = URL.createObjectURL(new Blob([data], { type: "image/webp" }));
      urls.add(url);
      picture = h("img", { src: url, alt: `${card.rows === 2 ? "real over imagined frames" : "frames"} of ${card.name}` });
    }
    const audited = card.verdict !== "not_audited", facts = [card.kind === "real" ? `${card.length} actions` : `depth ${card.depth}`, card.p_success === null ? "" : `p ${card.p_success.toFixed(2)}`, card.peak === null ? "" : `difference ≤ ${card.peak}`, card.spans ? `${card.spans} spans` : "", `${card.run} · ${card.stage}`];
    return h("button", { type: "button", class: "tile", "data-id": card.id, disabled: Boolean(card.broken), title: card.name, onclick: () => { trouble.hidden = true; model.send({ kind: "open", id: card.id }); } }, picture,
      h("span", { class: "line" }, h("b", { class: audited ? card.verdict : card.outcome, text: audited ? card.verdict_title : card.outcome_title }), h("span", { text: card.instruction })), h("span", { class: "line small", text: facts.filter(Boolean).join("   ") }));
  }

  const mark = () => { for (const node of grid.querySelectorAll(".tile")) node.setAttribute("aria-pressed", node.dataset.id === model.get("opened") ? "true" : "false"); };
  model.on("msg:custom", heard);
  model.on("change:opened", mark);
  ask();
  return () => { ender.abort(); model.off("msg:custom", heard); model.off("change:opened", mark); for (const url of urls) URL.revokeObjectURL(url); };
}

export default { render };
