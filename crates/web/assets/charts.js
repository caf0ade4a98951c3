// Numbers over time, drawn by uPlot.

import { bytes, count, el, say, time } from "./dom.js";

const HEIGHT = 180;
/** What is drawn: the columns of a chart, with the letter of their color. */
const CHARTS = [
  { title: "Rate", of: [["rate", "now", "a"]], format: (value) => `${bytes(Math.round(value))}/s` },
  { title: "Objects", of: [["done", "copied", "a"], ["failed", "failed", "b"]], format: count },
  { title: "Queue", of: [["visible", "waiting", "a"], ["inFlight", "in flight", "b"]], format: count },
  { title: "Workers", of: [["ready", "ready", "a"], ["desired", "wanted", "b"]], format: count },
];

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Returns charts: an element, and what sets and adds points. They end with the signal. */
export function charts(signal) {
  const element = el("div", { class: "charts" });
  let columns = null;
  let drawn = [];
  const observer = new ResizeObserver(() => drawn.forEach((chart) => chart.fit()));
  const draw = () => {
    drawn.forEach((chart) => chart.remove());
    drawn = CHARTS.map((chart) => make(chart, columns));
    element.replaceChildren(...drawn.map((chart) => chart.figure));
    drawn.forEach((chart) => chart.begin());
  };
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const redraw = () => { if (columns) draw(); };
  scheme.addEventListener("change", redraw, { signal });
  observer.observe(element);
  signal.addEventListener("abort", () => {
    observer.disconnect();
    drawn.forEach((chart) => chart.remove());
  });
  return {
    element,
    /** Draws these columns. */
    set(series) {
      columns = series;
      draw();
    },
    /** Adds the last point. */
    add(point) {
      if (point.at[0] <= (columns.at.at(-1) ?? 0)) return;
      for (const [name, values] of Object.entries(point)) columns[name].push(...values);
      drawn.forEach((chart) => chart.update());
    },
  };
}

function make({ title, of, format }, columns) {
  const values = of.map(([, , letter]) => el("span", { class: letter }));
  const place = el("div", { class: "plot", role: "img" });
  const figure = el("figure", {}, el("figcaption", {}, el("h3", {}, title), ...values), place);
  const data = () => [columns.at, ...of.map(([name]) => columns[name])];
  let plot = null;
  const caption = () => {
    const index = plot?.cursor.idx ?? columns.at.length - 1;
    if (index < 0) return;
    of.forEach(([name, label], number) => say(values[number], `${label} ${format(columns[name][index])}`));
    const most = Math.max(0, ...columns[of[0][0]]);
    place.setAttribute("aria-label", `${title} since ${time(columns.at[0])}: at most ${format(most)}`);
  };
  const axis = { stroke: color("--muted"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
  const options = () => ({
    width: Math.max(place.clientWidth, 100),
    height: HEIGHT,
    ms: 1,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false } },
    scales: { y: { range: (_, __, most) => [0, Math.max(most ?? 0, 1) * 1.05] } },
    axes: [axis, { ...axis, size: 80, values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) || title === "Rate" ? format(tick) : "")) }],
    series: [{}, ...of.map(([, label, letter]) => ({
      label,
      stroke: color(letter === "a" ? "--accent" : "--warn"),
      width: 2,
      points: { show: false },
    }))],
    hooks: { setCursor: [caption] },
  });
  return {
    figure,
    begin() {
      plot = new uPlot(options(), data(), place);
      caption();
    },
    update() {
      plot.setData(data());
      caption();
    },
    fit() {
      const width = place.clientWidth;
      if (plot && width > 0 && width !== plot.width) plot.setSize({ width, height: HEIGHT });
    },
    remove() { plot?.destroy(); },
  };
}
