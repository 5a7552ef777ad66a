/* The login form: light or dark as chosen before, and straight on for whoever is signed in already. */

const system = matchMedia("(prefers-color-scheme: dark)");
let kept = null;
try { kept = localStorage.getItem("wovr-theme"); } catch { /* a browser that keeps nothing */ }
document.body.classList.toggle("dark", kept === "dark" || (kept !== "light" && system.matches));

// A link from elsewhere comes without the session's cookie (SameSite=Strict); a question of this page carries it.
if (document.getElementById("error").hidden) {
  const me = await fetch("/wovr/me", { cache: "no-store" }).catch(() => null);
  if (me?.ok) location.replace(document.querySelector("input[name=next]").value);
}
