// Which view is shown, by the address after #; and the list of runs beside it.

import { colourOf, count, date, digits, el, fetched, sorted } from "./dom.js";
import { difference } from "./compare.js";
import { Live } from "./live.js";
import { Board, figures, head } from "./run.js";

const main = document.getElementById("main");
let view = null;
let listed = { directory: "", runs: [] };
let turn = 0;

const decoded = (word) => {
  try { return decodeURIComponent(word); } catch { return word; } // typed by hand: the name of no run, which is said
};
const words = () => location.hash.replace(/^#\/?/, "").split("/").map(decoded);
const link = (...parts) => `#/${parts.map(encodeURIComponent).join("/")}`;

function notice(title, fault, ...children) {
  return el("section", { className: `card notice${fault ? " fault" : ""}`, role: fault ? "alert" : "status" }, el("h2", {}, title), ...children);
}

function nothingYet() {
  const commands = "make demo                                                # a balancer and six backends, in one terminal\n" +
    "target/debug/traffic-lab tester 'http://127.0.0.1:5000/bench?slow=1' 10000      # a run, in another";
  return notice("No runs yet", false,
    el("p", {}, `There is no run in ${listed.directory}. Make one, then press Refresh:`), el("pre", {}, commands),
    el("p", { className: "quiet" }, "A file of another tool works too, if it is an array of records with req_snd_time, resp_rcv_time, status and instance. ",
      el("a", { href: "#/live" }, "Or watch the balancer live.")));
}

async function load() {
  listed = await fetched("api/runs");
  const [kind, first, second] = words();
  const chosen = kind === "run" ? [first] : kind === "compare" ? [first, second] : [];
  document.getElementById("directory").textContent = `in ${listed.directory}`;
  document.getElementById("list").replaceChildren(...listed.runs.map((run) => entry(run, chosen)));
}

function entry(run, chosen) {
  if (run.fault) {
    return el("li", {}, el("div", { className: "fault" }, el("div", { className: "mono" }, `${run.id}.json`), el("div", { className: "quiet bad" }, `cannot be read: ${run.fault}`)));
  }
  const { summary } = run;
  const here = chosen.includes(run.id);
  const item = el("li", { className: here ? "chosen" : "", "data-run": run.id },
    el("a", { className: "run", href: link("run", run.id), ...(here && { "aria-current": "true" }) },
      el("div", { className: "name" }, run.title ?? run.id),
      el("div", { className: "quiet" }, `${count(summary.requests)} requests${summary.failed < summary.requests ? ` · p99 ${digits(summary.latency_ms.p99)} ms` : ""}`,
        summary.failed ? el("span", { className: "bad" }, ` · ${count(summary.failed)} failed`) : null),
      el("div", { className: "quiet" }, date(run.started))));
  if (chosen.length && !here) {
    item.append(el("a", { className: "button compare", href: link("compare", chosen[0], run.id), title: `Beside ${chosen[0]}` }, "compare"));
  }
  return item;
}

async function showRuns(ids) {
  const runs = ids.map((id) => listed.runs.find((run) => run.id === id));
  const wrong = ids.find((id, at) => !runs[at] || runs[at].fault);
  if (wrong !== undefined) throw new Error(`there is no run ${JSON.stringify(wrong)} in ${listed.directory} that can be read`);
  const colour = colourOf(sorted(runs.flatMap((run) => Object.keys(run.summary.instances))));
  view = new Board(runs, colour);
  const board = view;
  if (runs.length === 1) {
    main.replaceChildren(head(runs[0]), figures(runs[0], colour), board.toolbar, ...board.sets[0].cards);
  } else {
    const [a, b] = runs;
    const heads = runs.map((run) => el("div", { className: "column" }, head(run, el("a", { className: "button", href: link("run", run.id) }, "alone")), figures(run, colour)));
    const pairs = board.sets[0].cards.map((_, at) => el("div", { className: "halves" }, board.sets.map((set) => set.cards[at])));
    main.replaceChildren(el("div", { className: "row" }, el("a", { className: "button", href: link("compare", b.id, a.id) }, "Swap sides")),
      difference(a, b), el("div", { className: "halves" }, heads), board.toolbar, ...pairs);
  }
  await board.zoom(null);
}

async function show() {
  const mine = ++turn;
  const [kind, ...ids] = words();
  view?.end();
  view = null;
  document.body.classList.toggle("live-view", kind === "live");
  document.getElementById("tab-live").ariaCurrent = kind === "live" ? "page" : null;
  document.getElementById("tab-runs").ariaCurrent = kind === "live" ? null : "page";
  try {
    await load();
    if (mine !== turn) return;
    const newest = listed.runs.find((run) => !run.fault);
    if (kind === "live") {
      view = new Live(main, listed.runs.length ? null : nothingYet());
    } else if (kind === "run" || kind === "compare") {
      await showRuns(ids);
    } else if (newest) {
      location.replace(link("run", newest.id));
    } else if (kind === "runs" || listed.runs.length) {
      const broken = listed.runs.length ? [notice("No file here is a run", true, el("p", {}, "The list names each with its reason."))] : [];
      main.replaceChildren(...broken, nothingYet());
    } else {
      location.replace("#/live");
    }
  } catch (error) {
    if (mine !== turn) return;
    main.replaceChildren(notice("This cannot be shown", true, el("p", {}, error.message), el("p", {}, el("a", { href: "#/runs" }, "Back to the runs"))));
  }
}

window.addEventListener("hashchange", show);
document.getElementById("reload").addEventListener("click", () => (["run", "compare", "live"].includes(words()[0]) ? load() : show()));
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view?.redraw());
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // what comes after # is the view
  main.focus();
});
// After this module and Plotly, which are both deferred.
window.addEventListener("DOMContentLoaded", show);
