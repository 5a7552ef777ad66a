/* What every page's module needs: elements, announcements, waiting, asking. Texts reach the page as text only. */

/**
 * An element. In `attrs`: `text` becomes textContent, `dataset` an object of data-* values, `on*` functions listeners,
 * false/null/undefined leave an attribute out, true sets it empty, everything else is an attribute.
 * Children: nodes, texts, arrays of them; null and false are left out.
 */
export function el(tag, attrs = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attrs ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "text") node.textContent = value;
    else if (name === "dataset") Object.assign(node.dataset, value);
    else if (name.startsWith("on")) {
      if (typeof value !== "function") throw new TypeError(`${name} must be a function`);  // never a text of handlers
      node.addEventListener(name.slice(2), value);
    } else if (name === "value" && "value" in node) { node.value = value; if (tag !== "textarea" && tag !== "select") node.setAttribute("value", value); }
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  if (attrs?.value !== undefined && tag === "select") node.value = attrs.value;  // its options are there only now
  return node;
}

/** Takes all children away, puts these in their place. */
export function clear(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

let speaker = null;

/** Has a screen reader say it. */
export function announce(text, urgent = false) {
  if (!speaker?.isConnected) {
    speaker = el("div", { class: "wovr-unseen", role: "status", "aria-live": "polite" });
    document.body.append(speaker);
  }
  speaker.setAttribute("aria-live", urgent ? "assertive" : "polite");
  speaker.textContent = "";
  setTimeout(() => { speaker.textContent = text; }, 50);
}

/** A function that calls `act` once nobody has called it for so many milliseconds. `.cancel()` forgets a call. */
export function debounce(act, milliseconds = 180) {
  let waiting;
  const later = (...values) => { clearTimeout(waiting); waiting = setTimeout(() => act(...values), milliseconds); };
  later.cancel = () => clearTimeout(waiting);
  return later;
}

/** What the server says to a message, or {error} where it cannot be reached. */
export async function answerTo(message, ask) {
  try {
    const answer = await ask(message);
    if (!answer || typeof answer !== "object") throw new Error("the server did not answer as it should");
    return answer;
  } catch (error) {
    return { error: `The server cannot be reached (${error?.message ?? error}). Is \`wovr app\` still running?` };
  }
}

/** "1 rollout", "1,200 rollouts". */
export const plural = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

/** A success rate {low, value, high} as a bar: its interval, and where it is in it. */
export function rateBar(rate) {
  const bar = el("div", { class: "wovr-interval", "aria-hidden": "true" }, el("i"), el("b"));
  bar.firstChild.style.left = `${100 * rate.low}%`;
  bar.firstChild.style.width = `${100 * (rate.high - rate.low)}%`;
  bar.lastChild.style.left = `${100 * (rate.value ?? 0)}%`;
  return bar;
}

const loading = new Map();

/** window.Plotly, loaded once per document from `url` (plotly_url() in Python). */
export function loadPlotly(url) {
  if (window.Plotly) return Promise.resolve(window.Plotly);
  if (!loading.has(url)) {
    loading.set(url, new Promise((resolve, reject) => {
      const script = el("script", { src: url });
      script.addEventListener("load", () => resolve(window.Plotly));
      script.addEventListener("error", () => { loading.delete(url); reject(new Error("the plotting library could not be loaded")); });
      document.head.append(script);
    }));
  }
  return loading.get(url);
}

/** The value of a design token, such as token("accent"). */
export const token = (name) => getComputedStyle(document.body).getPropertyValue(`--wovr-${name}`).trim();

/** Calls `act` now and whenever light turns into dark or back; for what is drawn on a canvas. Returns its end. */
export function followTheme(act) {
  let dark = document.body.classList.contains("dark");
  const observer = new MutationObserver(() => {
    const now = document.body.classList.contains("dark");
    if (now !== dark) { dark = now; act(dark); }
  });
  observer.observe(document.body, { attributes: true, attributeFilter: ["class"] });
  act(dark);
  return () => observer.disconnect();
}
