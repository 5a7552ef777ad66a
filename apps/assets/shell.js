/* The bar on top of every page: which pages there are, who is looking, light or dark. Loaded by the document's head. */

import { el } from "./dom.js";

const KEY = "wovr-theme";
const THEMES = [["auto", "as the system"], ["light", "light"], ["dark", "dark"]];
const system = matchMedia("(prefers-color-scheme: dark)");

function kept() {
  try {
    const value = localStorage.getItem(KEY);
    return value === "dark" || value === "light" ? value : "auto";
  } catch { return "auto"; }  // a browser that keeps nothing
}

function applyTheme() {
  const theme = kept(), dark = theme === "auto" ? system.matches : theme === "dark";
  if (document.body.classList.contains("dark") !== dark) document.body.classList.toggle("dark", dark);
  return theme;
}

function choose(theme) {
  try {
    if (theme === "auto") localStorage.removeItem(KEY); else localStorage.setItem(KEY, theme);
  } catch { document.body.classList.toggle("dark", theme === "auto" ? system.matches : theme === "dark"); }
  applyTheme();
}

function followTheme(select) {
  applyTheme();
  // Gradio sets the class too, when it starts and when the system's setting changes.
  new MutationObserver(applyTheme).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  system.addEventListener("change", applyTheme);
  addEventListener("storage", (event) => { if (event.key === KEY) select.value = applyTheme(); });  // a second tab
}

function bar(pages) {
  const here = location.pathname.replace(/^\/+|\/+$/g, "");
  const links = pages.map((page) => el("li", {}, el("a", { href: `/${page.path}`, title: page.help, "aria-current": page.path === here ? "page" : null, text: page.title })));
  const theme = el("select", { class: "wovr-select", "aria-label": "colours: light or dark", onchange: () => choose(theme.value) }, THEMES.map(([value, text]) => el("option", { value, text })));
  theme.value = kept();
  const who = el("span", { class: "who" });
  const out = el("form", { method: "post", action: "/wovr/logout", hidden: true }, el("button", { type: "submit", class: "wovr-button plain", text: "Sign out" }));
  const skip = el("a", { class: "wovr-skip", href: "#wovr-content", text: "Skip to the page",
    onclick: (event) => { event.preventDefault(); const target = document.querySelector(".wovr-page"); target?.setAttribute("tabindex", "-1"); target?.focus(); } });
  const current = pages.find((page) => page.path === here);
  if (current) title(`${current.title} · WoVR workbench`);
  document.body.prepend(skip, el("header", { class: "wovr-bar" },
    el("a", { class: "product", href: "/", text: "WoVR workbench" }), el("nav", { "aria-label": "pages" }, el("ul", {}, links)), who, out, theme));
  links.find((link) => link.firstChild.hasAttribute("aria-current"))?.scrollIntoView({ inline: "nearest", block: "nearest" });
  return { who, out, theme };
}

/** Gradio writes its own title when it starts; ours is put back. */
function title(text) {
  const put = () => { if (document.title !== text) document.title = text; };
  put();
  new MutationObserver(put).observe(document.head, { childList: true, subtree: true, characterData: true });
}

async function introduce({ who, out }) {
  const answer = await fetch("/wovr/me", { cache: "no-store" });
  if (answer.status === 401) { location.assign(loginAddress()); return; }
  const me = await answer.json();
  who.replaceChildren(el("b", { text: me.name }), ` · ${me.role}`);
  who.title = `you are ${me.name}, in the role ${me.role}`;
  out.hidden = !me.login;
}

const loginAddress = () => `/wovr/login?next=${encodeURIComponent(location.pathname + location.search)}`;

/** Says so when the session ends or the server is gone, rather than letting buttons do nothing. */
function watchAnswers() {
  const native = window.fetch;
  let notice = null;
  const say = (text, link) => {
    notice?.remove();
    notice = text ? el("div", { class: "wovr-lost", role: "alert" }, text, link ? el("a", { href: link, text: " Sign in again" }) : null) : null;
    if (notice) document.body.append(notice);
  };
  window.fetch = async (...values) => {
    const ours = new URL(values[0]?.url ?? values[0], location.href).origin === location.origin;
    try {
      const answer = await native(...values);
      if (ours && answer.status === 401) say("Your session has ended. What was saved stays saved.", loginAddress());
      else if (ours && answer.status === 429) say("That was more than the server takes from one user at a time; wait a moment.");
      else if (ours && notice && answer.ok) say(null);
      return answer;
    } catch (error) {
      if (ours && error?.name !== "AbortError") say("The server cannot be reached. Is `wovr app` still running?");
      throw error;
    }
  };
}

function start() {
  if (document.querySelector(".wovr-bar")) return;
  const pages = JSON.parse(document.getElementById("wovr-pages")?.textContent || "[]");
  const parts = bar(pages);
  followTheme(parts.theme);
  watchAnswers();
  introduce(parts).catch(() => { parts.who.textContent = "not connected"; });
}

if (document.body) start(); else addEventListener("DOMContentLoaded", start);
