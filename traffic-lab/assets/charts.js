// The five charts of a run: what the server worked out, as Plotly's traces. The server has thinned it to what can be seen.

import { GREY, RED, digits } from "./dom.js";
import { layout, plain } from "./plot.js";

const TIME = "time since the run's begin (s)";

/** Title, one line of help, and how to draw each; the order is the page's. */
export const CHARTS = [
  { id: "timeline", title: "Request timeline", tall: true, draw: timeline,
    help: "Each request from sending to its end. The height of a band is how many an instance had at once." },
  { id: "active", title: "Active requests", draw: active,
    help: "Sent and not yet answered, at each instance and in total." },
  { id: "rps", title: "Requests per second", draw: rates,
    help: "Good answers: since the run's begin, and of late." },
  { id: "service", title: "Service delay", draw: (charts, colour, scale) => delays(charts, charts.service, colour, scale, "service delay (ms)"),
    help: "From sending to the last byte, by when a request was sent: what the client waited." },
  { id: "processing", title: "Processing delay", draw: (charts, colour, scale) => delays(charts, charts.processing, colour, scale, "processing delay (ms)"),
    help: "From receiving to answering, by the server's own clock." },
];

const range = ({ window }) => ({ range: [window.from, window.to] });

// Bars are one filled outline an instance: ten thousand bars are one element to the browser instead of ten thousand.
function timeline(charts, colour) {
  const { bands, good, failed } = charts.timeline;
  const bars = (name, fill, { start, end, lane, outcome, count }) => {
    const trace = { name: plain(name), type: "scatter", mode: "none", fill: "toself", fillcolor: fill, hoveron: "points",
      hovertemplate: "%{text}<extra></extra>", x: [], y: [], text: [], line: { width: 0 } };
    for (let at = 0; at < start.length; at += 1) {
      const [from, to, low] = [start[at], end[at], lane[at]];
      const what = count[at] > 1 ? `${count[at]} requests, ${plain(outcome[at])}` : plain(outcome[at]);
      const text = `${plain(name)} · ${what} · ${digits((to - from) * 1000)} ms<br>sent at ${from} s`;
      trace.x.push(from, to, to, from, null);
      trace.y.push(low + 0.06, low + 0.06, low + 0.94, low + 0.94, null);
      trace.text.push(text, text, text, text, "");
    }
    return trace;
  };
  const traces = charts.instances.map((name, at) => bars(name, colour(name), good[at]));
  if (failed.start.length) traces.push(bars("failed", RED, failed));
  const edges = bands.slice(1).map(([first]) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: first, y1: first, line: { color: GREY, width: 0.5 } }));
  const lanes = bands.reduce((sum, [, lanes]) => sum + lanes, 0);
  return {
    traces,
    layout: layout(TIME, "", {
      xaxis: range(charts), showlegend: failed.start.length > 0, shapes: edges,
      yaxis: { range: [lanes, 0], fixedrange: true, showgrid: false, zeroline: false,
        tickvals: bands.map(([first, lanes]) => first + lanes / 2), ticktext: charts.instances.map((name) => plain(name.length > 11 ? `…${name.slice(-10)}` : name)) },
    }),
  };
}

function active(charts, colour) {
  const line = ({ instance, time, count }) => ({
    name: instance === null ? "total" : plain(charts.instances[instance]), x: time, y: count, type: "scatter", mode: "lines",
    line: { shape: "hv", width: instance === null ? 1.8 : 1.3, color: instance === null ? GREY : colour(charts.instances[instance]) },
    hovertemplate: "%{y} at %{x:.4f} s",
  });
  const lines = charts.active.map(line);
  return {
    traces: [lines.at(-1), ...lines.slice(0, -1)],
    layout: layout(TIME, "requests", { xaxis: range(charts), yaxis: { rangemode: "tozero", fixedrange: true } }),
  };
}

function rates(charts) {
  const { time, cumulative, windowed, failed, width } = charts.rates;
  const late = width < 1 ? `${digits(width * 1000)} ms` : `${digits(width)} s`;
  const line = (name, y, color, dash = "solid") => ({ name, x: time, y, type: "scatter", mode: "lines", line: { color, width: 1.8, dash },
    hovertemplate: "%{y:.1f}/s at %{x:.3f} s" });
  const traces = [line(`windowed: last ${late}`, windowed, "#4f7fff"), line("cumulative: since the begin", cumulative, "#f0922b", "dash")];
  if (failed) traces.push(line(`failed, last ${late}`, failed, RED));
  return { traces, layout: layout(TIME, "requests per second", { xaxis: range(charts), yaxis: { rangemode: "tozero", fixedrange: true } }) };
}

function delays(charts, series, colour, scale, title) {
  if (!series.requests) return null;
  const dots = (name, { time, ms }, color, symbol) => ({ name: plain(name), x: time, y: ms, type: "scatter", mode: "markers",
    marker: { color, size: 5, symbol, opacity: 0.75 }, hovertemplate: "%{y:.3f} ms, sent at %{x:.4f} s" });
  const traces = charts.instances.map((name, at) => dots(name, series.good[at], colour(name), "circle")).filter(({ x }) => x.length);
  if (series.failed.time.length) traces.push(dots("failed", series.failed, RED, "x"));
  const axis = scale === "log" ? { type: "log", dtick: 1 } : { rangemode: "tozero" };
  return { traces, layout: layout(TIME, title, { xaxis: range(charts), yaxis: { ...axis, uirevision: scale } }) };
}
