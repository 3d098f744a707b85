// Elements, numbers as text, and colours. Text from outside becomes text nodes only, never markup.

/** An element with properties and children; strings become text. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key in element) element[key] = value;
    else element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const card = (title, ...children) => el("section", { className: "card" }, el("h2", {}, title), ...children);

export const tile = (name, value, unit = "", kind = "") =>
  el("div", { className: "tile" }, el("dt", {}, name), el("dd", { className: kind }, value, el("small", {}, unit && ` ${unit}`)));

/** A table from its heads and rows of strings or elements; `words` are the columns that are no numbers. */
export function table(heads, rows, words = []) {
  const kind = (at) => ({ className: words.includes(at) ? "words" : "" });
  const head = el("tr", {}, heads.map((text, at) => el("th", { scope: "col", ...kind(at) }, text)));
  const body = rows.map((row) =>
    el("tr", { className: row.picked ? "picked" : "" }, (row.cells ?? row).map((cell, at) => el("td", kind(at), cell))));
  return el("div", { className: "scroll" }, el("table", {}, el("thead", {}, head), el("tbody", {}, body)));
}

/** A bar that is a share of the longest. */
export function bar(share, colour) {
  const fill = el("i");
  fill.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  fill.style.background = colour;
  return el("div", { className: "bar" }, fill);
}

export function dot(colour) {
  const spot = el("span", { className: "dot", ariaHidden: "true" });
  spot.style.background = colour;
  return spot;
}

const whole = new Intl.NumberFormat("en");
export const count = (number) => whole.format(Math.round(number));

/** Three digits are what a person reads. */
export function digits(number) {
  if (number === null || number === undefined || !Number.isFinite(number)) return "–";
  if (number === 0) return "0";
  return Math.abs(number) >= 1000 ? count(number) : String(Number(number.toPrecision(3)));
}

export const percent = (share) => `${digits(share * 100)} %`;
export const seconds = (time) => `${digits(time)} s`;
export const date = (unix) => (unix > 1e8 ? new Date(unix * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" }) : "");
export const clock = (ms) => new Date(ms).toLocaleTimeString("en-GB");

// Told apart in light and dark, and by most who see colours otherwise; red is kept for failures.
const COLOURS = ["#4f7fff", "#f0922b", "#17a589", "#b565d9", "#c2a21c", "#35a9d6", "#8a6f5a", "#6fae3c", "#7d86e8", "#d977ae", "#5f7f95", "#0f9f6e"];
export const RED = "#e5484d";
export const GREY = "#8b94a7";

/** An instance's colour, the same in every chart of a view. */
export const colourOf = (names) => (name) => (["no answer", "not named"].includes(name) ? GREY : COLOURS[Math.max(0, names.indexOf(name)) % COLOURS.length]);

const order = new Intl.Collator("en", { numeric: true });
export const sorted = (names) => [...new Set(names)].sort(order.compare);

/** What a server of ours answered, or its reason as an error. */
export async function fetched(path, signal) {
  const answer = await fetch(path, { signal });
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error ?? `the dashboard answered ${answer.status}`);
  return body;
}
