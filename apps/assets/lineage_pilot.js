/* PACE on autopilot, below the graph of versions: its rounds drawn from left to right, and the same as a table. */

import { clear, el, token } from "./dom.js";

const LANES = { policy: 2, world_model: 1, reward: 0 };
const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll("\n", "<br>");
const words = (kind) => kind.replaceAll("_", " ");

/** The section's texts. `chooser(id)` gives what happens where a policy is pressed, or null where the list lacks it. */
export function fillPilot(host, pilot, chooser) {
  host.hidden = !pilot;
  clear(host);
  if (!pilot) return;
  host.append(el("h2", { text: "PACE on autopilot" }));
  if (pilot.error) { host.append(el("p", { class: "wovr-error", text: pilot.error })); return; }
  const last = pilot.rounds.at(-1), refined = pilot.rounds.filter((round) => round.action === "refine").length;
  const outcome = (round) => Object.entries(round.promoted).map(([kind, kept]) => `${words(kind)} ${kept ? "promoted" : "rolled back"}`).join(", ");
  const policy = (round) => {
    const act = chooser(`policy:${round.policy}`), text = round.policy.slice(0, 8);
    return act ? el("button", { type: "button", class: "wovr-button plain", text, onclick: act }) : el("code", { text });
  };
  const cell = (value, number = false) => el("td", { class: number ? "number" : null }, value);
  host.append(
    el("p", { text: [[pilot.rounds.length, "round"], [refined, "refinement"], [last.spent, "real episode"]].map(([n, what]) => `${n} ${what}${n === 1 ? "" : "s"}`).join(", ") + " spent." }),
    el("div", { class: "pilot-plot", role: "img", "aria-label": "rounds of the autopilot; the table below tells the same" }),
    el("table", { class: "wovr-table" },
      el("thead", {}, el("tr", {}, ["round", "policy", "drift (nats a token)", "error of what moves (of 255)", "decision", "outcome", "real episodes so far"].map((text) => el("th", { scope: "col", text })))),
      el("tbody", {}, pilot.rounds.map((round) => el("tr", {}, cell(String(round.round), true), cell(policy(round)), cell(round.drift.toFixed(3), true), cell(round.error === null ? "not looked at" : round.error.toFixed(2), true),
        cell(`${round.action}: ${round.reason}`), cell(outcome(round) || "–"), cell(String(round.spent), true))))));
}

/** Rounds from left to right, one lane a kind; crosses were rolled back. */
export function drawPilot(plotly, host, pilot, kinds) {
  const plot = host.querySelector(".pilot-plot");
  if (!plot || !pilot?.nodes) return;
  const at = new Map(pilot.nodes.map((node) => [`${node.kind}:${node.version}`, [node.round, LANES[node.kind]]]));
  const x = [], y = [];
  for (const [kind, version, childKind, child] of pilot.links) {
    const a = at.get(`${kind}:${version}`), b = at.get(`${childKind}:${child}`);
    x.push(a[0], b[0], null);
    y.push(a[1], b[1], null);
  }
  const marks = Object.keys(LANES).map((kind) => {
    const own = pilot.nodes.filter((node) => node.kind === kind);
    return {
      x: own.map((n) => n.round), y: own.map(() => LANES[kind]), mode: "markers+text", showlegend: false, hoverinfo: "text", cliponaxis: false,
      text: own.map((n) => n.version.slice(0, 6)), textposition: "top center", textfont: { size: 12, color: token("text") },
      hovertext: own.map((n) => plain(`${n.version.slice(0, 12)}\n${n.text}`)),
      marker: { size: 13, symbol: own.map((n) => (n.kept ? "circle" : "x")), color: own.map((n) => token(n.kept ? kinds[kind][0] : "bad")) },
    };
  });
  plotly.react(plot, [{ x, y, mode: "lines", hoverinfo: "skip", showlegend: false, line: { color: token("muted"), width: 1 } }, ...marks], {
    height: 260, margin: { l: 132, r: 20, t: 16, b: 42 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest", dragmode: false,
    font: { family: token("font"), size: 13, color: token("text") }, hoverlabel: { bgcolor: token("panel"), bordercolor: token("line"), font: { color: token("text") } },
    xaxis: { dtick: 1, showgrid: false, zeroline: false, tickfont: { color: token("muted") }, title: { text: "round", font: { size: 12, color: token("muted") } }, fixedrange: true },
    yaxis: { range: [-0.5, 2.6], tickvals: Object.values(LANES), ticktext: Object.keys(LANES).map(words), gridcolor: token("line"), zeroline: false, fixedrange: true },
  }, { displayModeBar: false, responsive: true });
}
