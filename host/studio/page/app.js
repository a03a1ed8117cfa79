// The page's frame: tabs, the board's state, lines that pop up. Each tab is a module with
// `title`, `mount(root, connection, bench)`, and optionally `show()` and `hide()` in what it gives.

import { Connection } from "/page/connection.js";
import { make, toast } from "/page/dom.js";
import * as inside from "/page/inside.js";
import * as run from "/page/run.js";
import * as teach from "/page/teach.js";

const TABS = [["run", run], ["inside", inside], ["teach", teach]];

const connection = new Connection();
const main = document.getElementById("main");
const nav = document.querySelector(".tabs");
const views = new Map();
let current = null;

/** What tabs ask of the frame. */
const bench = {
  go(id) {
    if (!views.has(id)) id = TABS[0][0];
    if (current === id) return;
    views.get(current)?.tab.hide?.();
    current = id;
    for (const [name, { panel, button }] of views) {
      panel.hidden = name !== id;
      button.setAttribute("aria-selected", String(name === id));
      button.tabIndex = name === id ? 0 : -1;
    }
    history.replaceState(null, "", `${location.pathname}${location.search}#${id}`);
    views.get(id).tab.show?.();
  },
  source(id) {
    views.get("run").tab.source(id);
  },
  say(text) {
    document.getElementById("status").textContent = text;
  },
};

for (const [id, module] of TABS) {
  const panel = make("section", { role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}`, hidden: true });
  const button = make(
    "button",
    { type: "button", role: "tab", id: `tab-${id}`, "aria-controls": `panel-${id}`, onclick: () => bench.go(id) },
    module.title,
  );
  nav.append(button);
  main.append(panel);
  views.set(id, { panel, button, tab: module.mount(panel, connection, bench) });
}
nav.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const ids = [...views.keys()];
  const next = ids[(ids.indexOf(current) + step + ids.length) % ids.length];
  bench.go(next);
  views.get(next).button.focus();
});
nav.hidden = TABS.length < 2;

// The board.

let began = 0;

function showBoard() {
  const { phase, board, problem, port } = connection.status;
  document.querySelector("#board .dot").dataset.phase = phase;
  const simulated = port?.startsWith("sim") ? "simulated " : "";
  const names = {
    opening: "starting the board",
    lost: "no board",
    gone: "the program has ended",
    loading: `${simulated}${board?.name ?? "board"}`,
    ready: `${simulated}${board?.name ?? "board"}`,
  };
  document.getElementById("board-name").textContent = names[phase];
  document.getElementById("board").title = board
    ? `${board.lanes}×${board.pixels} multipliers, ${board.clock_hz / 1e6} MHz, ${board.memory_bytes / 1024} KiB, ` +
      `${board.baud.toLocaleString("en-GB")} baud, at ${port}`
    : problem || "";
  showBanner();
  showWork();
}

function showBanner() {
  const banner = document.getElementById("banner");
  const { phase, problem } = connection.status;
  banner.classList.toggle("bad", phase === "lost" || phase === "gone");
  watch();
  if (phase === "gone") {
    banner.replaceChildren("The program behind this page has ended. Start host studio again, and open the address that it prints.");
  } else if (phase === "lost") {
    banner.replaceChildren(`${problem}. Looking for it again …`);
  } else if (connection.client && !connection.operates) {
    banner.replaceChildren(
      "Another page operates the board; this one watches.",
      make("button.button.small", { type: "button", onclick: () => connection.do("take over") }, "Take over"),
    );
  } else {
    banner.replaceChildren();
  }
  banner.hidden = !banner.hasChildNodes();
}

/** A page that watches shows everything, and changes nothing: not by pointer, not by keyboard. */
function watch() {
  const watching = Boolean(connection.client) && !connection.operates;
  document.body.classList.toggle("watching", watching);
  for (const each of document.querySelectorAll(".needs-board")) each.inert = watching;
}

function showWork() {
  const { phase, doing, done, total, seconds } = connection.status;
  const work = document.getElementById("work");
  const busy = Boolean(doing) && phase !== "lost" && phase !== "gone";
  began = busy ? performance.now() - (seconds ?? 0) * 1000 : 0;
  work.hidden = true;
  if (!busy) return;
  const bar = work.querySelector(".work-bar");
  bar.classList.toggle("endless", !total);
  bar.firstChild.style.width = total ? `${(100 * done) / total}%` : "";
  if (total) bar.setAttribute("aria-valuenow", String(Math.round((100 * done) / total)));
  else bar.removeAttribute("aria-valuenow");
  tick();
}

/** What takes a moment is not announced; what takes longer says so, and for how long. */
function tick() {
  if (!began) return;
  const elapsed = (performance.now() - began) / 1000;
  const { phase, doing } = connection.status;
  document.getElementById("work").hidden = elapsed < 0.4;
  const patience = phase === "opening" && elapsed > 2.5 ? ". A simulated board is compiled once on a machine; this takes up to a minute" : "";
  document.getElementById("work-text").textContent = doing + patience;
  document.getElementById("work-time").textContent = elapsed > 1.5 ? `${Math.floor(elapsed)} s` : "";
}
setInterval(tick, 200);

connection.on("status", (status) => {
  if (status.phase === "lost") bench.say(`No board: ${status.problem}`);
  else if (status.doing) bench.say(status.doing);
  showBoard();
});
connection.on("gone", () => { showBoard(); bench.say("The program has ended"); });
connection.on("roles", showBanner);
connection.on("collection", watch);
connection.on("problem", (line) => toast(line, { bad: true }));
connection.on("model", (model) => {
  if (model) bench.say(`${model.name} is on the board`);
});

bench.go(location.hash.slice(1) || TABS[0][0]);
showBoard();
connection.open();
