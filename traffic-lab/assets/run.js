// A run: its figures, and its five charts with one window of time for all of them.

import { CHARTS } from "./charts.js";
import { bar, card, colourOf, count, date, digits, dot, el, fetched, percent, table, tile } from "./dom.js";
import { draw, forget } from "./plot.js";

const LOOPS = { closed: "closed loop", open_poisson: "open loop, Poisson", open_constant: "open loop, constant" };

/** How a run was sent, in words. */
export function manner({ sending }) {
  const parts = [sending.method, LOOPS[sending.loop], sending.rate && `${digits(sending.rate)}/s`,
    sending.concurrency && `${count(sending.concurrency)} at once`, sending.algorithm && `algorithm ${sending.algorithm}`];
  return sending.method ? parts.filter(Boolean).join(" · ") : "";
}

/** Milliseconds of the good answers; where there was none, none rather than 0. */
export const delay = ({ requests, failed }, value) => (failed < requests ? value : null);

/** Name, target and the figures that are read first. */
export function head(run, ...buttons) {
  const { summary } = run;
  const about = [run.target, manner(run), date(run.started)].filter(Boolean).join(" · ");
  return el("section", { className: "card head" },
    el("div", { className: "row spread" }, el("h2", {}, run.title ?? run.id), el("div", { className: "row" }, buttons)),
    el("p", { className: "quiet" }, run.title ? `${run.id} · ${about}` : about),
    el("dl", { className: "tiles" },
      tile("requests", count(summary.requests)),
      tile("failed", count(summary.failed), summary.failed ? percent(summary.failed / summary.requests) : "", summary.failed ? "bad" : ""),
      tile("throughput", digits(summary.throughput), "/s"),
      tile("duration", digits(summary.seconds), "s"),
      tile("latency p50", digits(delay(summary, summary.latency_ms.p50)), "ms"),
      tile("latency p99", digits(delay(summary, summary.latency_ms.p99)), "ms")));
}

/** Who answered how often, percentiles, and what went wrong. */
export function figures(run, colour) {
  const { summary } = run;
  const servers = Object.entries(summary.instances).sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true }));
  const most = Math.max(1, ...servers.map(([, requests]) => requests));
  const counts = servers.map(([name, requests]) => [el("span", {}, dot(colour(name)), name), bar(requests / most, colour(name)), count(requests), percent(requests / summary.requests)]);
  const quantiles = ["mean", "p50", "p90", "p99", "p999", "max"];
  const row = (name, values) => [name, ...quantiles.map((key) => digits(delay(summary, values[key])))];
  const statuses = Object.entries(summary.statuses).map(([status, requests]) => [status < 400 ? status : el("b", { className: "bad" }, status), "status", count(requests), percent(requests / summary.requests)]);
  const errors = Object.entries(summary.errors).map(([reason, requests]) => [el("b", { className: "bad" }, reason), "no answer", count(requests), percent(requests / summary.requests)]);
  return el("div", { className: "thirds" },
    card("Requests per server", servers.length ? table(["server", "", "requests", "share"], counts) : el("p", { className: "quiet" }, "The answers do not say who gave them.")),
    card("Percentiles (ms)", table(["", "mean", "p50", "p90", "p99", "p99.9", "max"],
      [row("latency", summary.latency_ms), row("service", summary.service_ms), row("client queue", summary.queued_ms)]),
    el("p", { className: "quiet" }, "Good answers. Latency counts from when a request was due, service from when it was sent.")),
    card("Statuses and errors", table(["outcome", "", "requests", "share"], [...statuses, ...errors], [1])));
}

/** The five charts of one run; they zoom together, and tell `zoomed` when somebody zooms one. */
export class Charts {
  constructor(run, colour, zoomed) {
    Object.assign(this, { run, colour, zoomed, scale: "linear", turn: 0, charts: null });
    this.places = CHARTS.map((chart) => el("div", { id: `chart-${chart.id}-${run.id}`, className: `chart${chart.tall ? " tall" : ""}`, "data-chart": chart.id }));
    this.notes = CHARTS.map(() => el("span", { className: "quiet" }));
    this.cards = CHARTS.map((chart, at) => el("section", { className: "card" },
      el("div", { className: "row spread" }, el("h2", {}, `${at + 1} · ${chart.title}`), this.notes[at]),
      el("p", { className: "quiet" }, chart.help), this.places[at]));
  }

  /** Asks for a part of the run (or all of it) and draws it; a later call makes an earlier one void. */
  async show(part) {
    const turn = ++this.turn;
    const query = part ? `?from=${part.from}&to=${part.to}` : "";
    const { charts } = await fetched(`api/runs/${encodeURIComponent(this.run.id)}${query}`);
    if (turn !== this.turn) return;
    this.charts = charts;
    await this.redraw(turn);
  }

  /** Draws what is on the screen first, and lets the browser breathe in between. */
  async redraw(turn = ++this.turn) {
    const distance = (place) => { const { top, bottom } = place.getBoundingClientRect(); return Math.max(0, -bottom, top - window.innerHeight); };
    const order = this.places.map((place, at) => [distance(place), at]).sort(([a], [b]) => a - b);
    for (const [, at] of order) {
      if (turn !== this.turn) return;
      this.one(at);
      await new Promise((resume) => setTimeout(resume));
    }
  }

  one(at) {
    const [place, chart] = [this.places[at], CHARTS[at]];
    const drawing = chart.draw(this.charts, this.colour, this.scale);
    const series = this.charts[chart.id];
    if (!drawing) {
      // Text over a drawing would leave Plotly nothing to draw into: it has to let go first, and takes its listeners along.
      forget(place);
      delete place.dataset.wired;
      this.notes[at].textContent = "";
      place.classList.add("empty");
      const all = this.charts.window.from <= 0 && this.charts.window.to >= this.charts.whole.to;
      place.textContent = all ? "The answers of this run do not tell when the server had the request and when it answered." : "No request in this part of the run.";
      return;
    }
    if (place.classList.contains("empty")) {
      place.classList.remove("empty");
      place.textContent = "";
    }
    draw(place, drawing);
    this.notes[at].textContent = series?.drawn < series?.requests ? `${count(series.drawn)} dots for ${count(series.requests)} requests; zoom for more` : "";
    if (place.dataset.wired) return;
    place.dataset.wired = "yes";
    place.on("plotly_relayout", (change) => this.relayout(change));
    place.on("plotly_doubleclick", () => this.zoomed(null));
  }

  relayout(change) {
    const [from, to] = [change["xaxis.range[0]"] ?? change["xaxis.range"]?.[0], change["xaxis.range[1]"] ?? change["xaxis.range"]?.[1]];
    if (Number.isFinite(from) && Number.isFinite(to)) this.zoomed({ from, to });
  }

  end() {
    this.turn += 1;
    this.places.forEach(forget);
  }
}

/** Charts of one run or two, and the buttons that move their common window. */
export class Board {
  constructor(runs, colour) {
    this.sets = runs.map((run) => new Charts(run, colour, (part) => this.zoom(part)));
    this.whole = { from: 0, to: Math.max(...runs.map(({ summary }) => summary.seconds), 1e-6) };
    this.part = null;
    const button = (name, title, act) => el("button", { type: "button", title, onclick: act }, name);
    this.text = el("span", { className: "quiet", role: "status" });
    this.reset = button("Whole run", "Show all of it again", () => this.zoom(null));
    this.log = button("Log scale", "Logarithmic delays", () => this.rescale());
    this.log.setAttribute("aria-pressed", "false");
    this.toolbar = el("div", { className: "card toolbar row spread" }, this.text, el("div", { className: "row" },
      button("◀", "Earlier", () => this.move(-0.5, 1)), button("▶", "Later", () => this.move(0.5, 1)),
      button("Zoom in", "The middle half", () => this.move(0, 0.5)), button("Zoom out", "Twice as much", () => this.move(0, 2)), this.reset, this.log));
  }

  /** A factor of its length around its middle, moved by a share of its length. */
  move(by, factor) {
    const { from, to } = this.part ?? this.whole;
    const [middle, half] = [(from + to) / 2 + by * (to - from), ((to - from) / 2) * factor];
    const part = { from: Math.max(this.whole.from, middle - half), to: Math.min(this.whole.to, middle + half) };
    if (part.to > part.from) this.zoom(part.from === this.whole.from && part.to === this.whole.to ? null : part);
  }

  async zoom(part) {
    this.part = part;
    const { from, to } = part ?? this.whole;
    this.text.textContent = part ? `Showing ${digits(from)} to ${digits(to)} s of ${digits(this.whole.to)} s` : `Showing all ${digits(this.whole.to)} s. Drag over a chart to zoom, double-click to go back.`;
    this.reset.disabled = !part;
    // Side by side the shorter run keeps the longer one's axis, so that both have one scale.
    await Promise.all(this.sets.map((set) => set.show(part ?? (this.sets.length > 1 ? this.whole : null))));
  }

  rescale() {
    const scale = this.sets[0].scale === "log" ? "linear" : "log";
    this.log.setAttribute("aria-pressed", String(scale === "log"));
    for (const set of this.sets) {
      set.scale = scale;
      set.redraw();
    }
  }

  redraw() { this.sets.forEach((set) => set.charts && set.redraw()); }
  end() { this.sets.forEach((set) => set.end()); }
}
