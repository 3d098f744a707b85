// Two runs beside each other: what differs in figures, then chart beside chart over one axis of time.

import { card, digits, el, table } from "./dom.js";
import { delay } from "./run.js";

/** Figures of both, and by how much the second differs. */
export function difference(a, b) {
  const latency = (key) => ({ summary }) => delay(summary, summary.latency_ms[key]);
  const rows = [
    ["throughput (/s)", (run) => run.summary.throughput, 1], ["failed", (run) => run.summary.failed, -1], ["duration (s)", (run) => run.summary.seconds, 0],
    ["latency mean (ms)", latency("mean"), -1], ["latency p50 (ms)", latency("p50"), -1],
    ["latency p90 (ms)", latency("p90"), -1], ["latency p99 (ms)", latency("p99"), -1],
    ["latency p99.9 (ms)", latency("p999"), -1], ["latency max (ms)", latency("max"), -1],
  ];
  const name = (run) => run.title ?? run.id;
  const cells = rows.map(([title, of, better]) => {
    const [left, right] = [of(a), of(b)];
    if (left === null || right === null) return [title, digits(left), digits(right), "–"];
    const change = left > 0 ? right / left - 1 : right > 0 ? Infinity : 0;
    const text = change === Infinity ? "from none" : `${change > 0 ? "+" : change < 0 ? "−" : ""}${digits(Math.abs(change) * 100)} %`;
    // A difference of a few percent between two runs is noise more often than not.
    const kind = Math.abs(change) < 0.05 || !better ? "" : change * better > 0 ? "pill ok" : "pill down";
    return [title, digits(left), digits(right), el("span", { className: kind }, text)];
  });
  return card("Side by side", table(["", name(a), name(b), "difference"], cells));
}
