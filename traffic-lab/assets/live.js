// A balancer at work: what it says each second, what has happened, and why its last picks were made.

import { bar, card, clock, colourOf, count, digits, dot, el, percent, sorted, table, tile } from "./dom.js";
import { draw, forget, layout, plain } from "./plot.js";

const SECONDS = 120; // of history in the charts
const REQUESTS = 60; // kept in the list
const FACTS = 60;
const LISTS = 300; // milliseconds between two drawings of the lists
const STATES = { healthy: "ok", warming: "warn", saturated: "warn", trial: "warn", unknown: "" };

export class Live {
  /** `help` is shown while the balancer is away. */
  constructor(main, help) {
    Object.assign(this, { ticks: [], requests: [], facts: [], chosen: null, names: [], help, helping: el("div") });
    this.state = el("span", { className: "pill", role: "status", id: "live-state" }, "connecting …");
    this.tiles = el("dl", { className: "tiles" });
    this.rates = el("div", { className: "chart", id: "chart-live-rates" });
    this.shares = el("div", { className: "chart", id: "chart-live-shares" });
    this.backends = el("div", { id: "live-backends" });
    this.why = el("div", { className: "why", id: "live-why" }, el("p", { className: "quiet" }, "The next recorded request will be explained here."));
    this.requestList = el("ul", { className: "feed", id: "live-requests" });
    this.factList = el("ul", { className: "feed", id: "live-facts" });
    this.skipped = el("p", { className: "quiet" });
    this.follow = el("button", { type: "button", onclick: () => this.choose(null) }, "Follow the newest");
    main.replaceChildren(
      el("section", { className: "card head" }, el("div", { className: "row spread" }, el("h2", {}, "Live"), this.state), this.tiles), this.helping,
      el("div", { className: "halves" },
        card("Requests per second by backend", el("p", { className: "quiet" }, `Attempts sent to each, the last ${SECONDS} s.`), this.rates),
        card("Weights by backend", el("p", { className: "quiet" }, "The share each draws now: weight × warmth ÷ price. Nothing while it may not be picked."), this.shares)),
      card("Backends", this.backends),
      el("section", { className: "card" }, el("div", { className: "row spread" }, el("h2", {}, "Why the last pick was made"), this.follow), this.why),
      el("div", { className: "halves" },
        card("Requests", this.skipped, this.requestList),
        card("What happened to the pool", el("p", { className: "quiet" }, "Every transition, with its numbers."), this.factList)));
    this.source = new EventSource("api/live");
    const on = (kind, act) => this.source.addEventListener(kind, ({ data }) => act(JSON.parse(data)));
    on("state", (state) => this.connected(state));
    on("tick", (tick) => this.tick(tick));
    on("request", (request) => this.request(request));
    on("fact", (fact) => this.fact(fact));
    this.source.onerror = () => this.status("down", "the dashboard's own server is away; trying again …");
    this.redraw();
  }

  status(kind, text) {
    this.state.className = `pill ${kind}`;
    if (this.state.textContent !== text) this.state.textContent = text;
  }

  connected({ up, admin, why }) {
    if (this.help) this.helping.replaceChildren(...(up ? [] : [this.help]));
    if (up) {
      // What follows begins with the past again.
      Object.assign(this, { requests: [], facts: [], ticks: [], chosen: null });
      this.status("ok", `watching ${admin}`);
    } else {
      this.status("down", `the balancer at ${admin} is away: ${why}; trying again …`);
    }
  }

  tick(tick) {
    this.ticks.push({ ...tick, at: Date.now() });
    if (this.ticks.length > SECONDS) this.ticks.shift();
    this.names = sorted(this.ticks.flatMap(({ backends }) => backends.map(({ name }) => name)));
    this.skipped.textContent = tick.skipped ? `Recorded ones as they end; ${count(tick.skipped)} more in the last second are not shown.` : "Recorded ones as they end. Press one to keep its explanation.";
    this.redraw();
    this.lists();
  }

  redraw() {
    const last = this.ticks.at(-1);
    this.tiles.replaceChildren(
      tile("requests", last ? digits(last.rate) : "–", "/s"), tile("failing", last ? digits(last.failing) : "–", "/s", last?.failing ? "bad" : ""),
      tile("in flight", last ? count(last.in_flight) : "–"), tile("eligible", last ? `${last.backends.filter((b) => b.eligible).length}` : "–", last ? `of ${last.backends.length}` : ""),
      tile("answered in all", last ? count(last.requests) : "–"), tile("default algorithm", last?.algorithm || "–", "", "words"));
    const colour = colourOf(this.names);
    const time = this.ticks.map(({ at }) => new Date(at));
    const series = (of) => this.names.map((name) => this.ticks.map(({ backends }) => { const found = backends.find((b) => b.name === name); return found ? of(found) : null; }));
    const line = (at, y, more) => ({ name: plain(this.names[at]), x: time, y, type: "scatter", mode: "lines", line: { width: 1.8, color: colour(this.names[at]) }, ...more });
    const now = this.ticks.at(-1)?.at ?? Date.now();
    const axis = { type: "date", range: [new Date(now - SECONDS * 1000), new Date(now)], tickformat: "%H:%M:%S", nticks: window.innerWidth < 600 ? 4 : 7 };
    draw(this.rates, {
      traces: series((b) => b.rate).map((y, at) => line(at, y, { hovertemplate: "%{y:.1f}/s" })),
      layout: layout("", "requests per second", { xaxis: axis, yaxis: { rangemode: "tozero" }, uirevision: "live" }),
    });
    draw(this.shares, {
      traces: series((b) => b.share * 100).map((y, at) => line(at, y, { hovertemplate: "%{y:.1f} %", stackgroup: "all", fillcolor: `${colour(this.names[at])}66` })),
      layout: layout("", "share of the weight (%)", { xaxis: axis, yaxis: { range: [0, 100] }, uirevision: "live" }),
    });
    if (!last) return;
    const most = Math.max(1e-9, ...last.backends.map(({ share }) => share));
    const rows = last.backends.map((b) => [el("span", {}, dot(colour(b.name)), b.name), b.region || "–", el("span", { className: `pill ${STATES[b.state] ?? "down"}` }, b.state),
      bar(b.share / most, colour(b.name)), percent(b.share), digits(b.rate), digits(b.failing), count(b.in_flight), digits(b.latency_ms), digits(b.capacity), digits(b.price)]);
    this.backends.replaceChildren(table(["backend", "region", "state", "", "weight", "requests/s", "failing/s", "in flight", "latency (ms)", "capacity", "price"], rows, [1, 2]));
  }

  request(request) {
    this.requests.unshift(request);
    if (this.requests.length > REQUESTS) this.requests.pop();
    this.stale = true;
    // Many come at once: what they change is drawn once.
    this.pending ??= setTimeout(() => { this.pending = null; this.lists(); }, LISTS);
  }

  fact(fact) {
    this.facts.unshift(fact);
    if (this.facts.length > FACTS) this.facts.pop();
    this.stale = true;
    this.pending ??= setTimeout(() => { this.pending = null; this.lists(); }, LISTS);
  }

  choose(request) {
    this.chosen = request;
    this.stale = true;
    this.lists();
  }

  lists() {
    this.follow.disabled = !this.chosen;
    if (!this.stale) return;
    this.stale = false;
    const focused = document.activeElement?.dataset?.request;
    const colour = colourOf(this.names);
    this.requestList.replaceChildren(...this.requests.map((r) => el("li", {}, el("button", { type: "button", onclick: () => this.choose(r), "aria-pressed": String(this.chosen === r), "data-request": r.request_id },
      el("time", {}, clock(r.at)), el("span", { className: "grow" }, dot(colour(r.backend)), `${r.backend ?? "nobody"} · ${r.algorithm}`), el("span", { className: r.code >= 500 ? "bad" : "quiet" }, `${r.code}`), el("span", {}, `${digits(r.seconds * 1000)} ms`)))));
    if (focused) [...this.requestList.querySelectorAll("button")].find((b) => b.dataset.request === focused)?.focus({ preventScroll: true });
    this.factList.replaceChildren(...this.facts.map((f) => el("li", {}, el("time", {}, clock(f.at)), f.text)));
    const told = this.chosen ?? this.requests.find((r) => r.attempts?.length);
    if (told) this.why.replaceChildren(...explain(told, colour));
  }

  end() {
    this.source.close();
    clearTimeout(this.pending);
    forget(this.rates);
    forget(this.shares);
  }
}

/** A record in words and a table: candidates with the terms of their cost, and who could not be picked. */
function explain(request, colour) {
  const parts = [el("p", { className: "quiet mono" }, `${request.request_id} · ${request.algorithm} · ${request.code} in ${digits(request.seconds * 1000)} ms`)];
  request.attempts.forEach((attempt, at) => {
    const number = request.attempts.length > 1 ? `Attempt ${at + 1}: ` : "";
    parts.push(el("p", { className: "sentence" }, number, dot(colour(attempt.backend)), el("b", {}, attempt.backend ?? "nobody"), `: ${attempt.why}`));
    const candidates = attempt.candidates ?? [];
    if (candidates.length) {
      const most = Math.max(1e-9, ...candidates.map(({ cost }) => cost));
      const rows = [...candidates].sort((a, b) => a.cost - b.cost).map((c) => ({ picked: c.backend === attempt.backend, cells: [
        el("span", {}, dot(colour(c.backend)), c.backend), bar(c.cost / most, colour(c.backend)), el("b", {}, digits(c.cost)), digits(c.in_flight), digits(c.others_in_flight), digits(c.weight_in_cost),
        digits(c.capacity), digits(c.latency_seconds * 1000), digits(c.latency_ratio), digits(c.error_factor), digits(c.region_factor)] }));
      parts.push(table(["candidate", "", "cost", "in flight", "others'", "weight", "capacity", "latency (ms)", "anomaly", "errors", "region"], rows));
    }
    const excluded = attempt.excluded ?? [];
    if (excluded.length) parts.push(el("p", { className: "quiet" }, `Not eligible: ${excluded.map((e) => `${e.backend} (${e.reason})`).join(", ")}`));
  });
  return parts;
}
