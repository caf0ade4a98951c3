// One job.

import { follow, pathOf } from "./api.js";
import { charts } from "./charts.js";
import { bytes, count, duration, el, figures, phase, printable, raw, say, table, time } from "./dom.js";
import { failures } from "./failures.js";
import { part } from "./list.js";
import { planned } from "./plan.js";

const FIGURES = ["Objects", "Bytes", "Skipped", "Failed", "Rate", "Time left", "Workers", "Queue", "Dead letters"];
const RUNS = [
  { title: "Run" }, { title: "Result" }, { title: "Started" }, { title: "Took", number: true },
  { title: "Copied", number: true }, { title: "Bytes", number: true }, { title: "Skipped", number: true },
  { title: "Failed", number: true }, { title: "Why", text: true },
];

/** Shows a job until the signal. */
export async function showJob(main, name, signal, live) {
  main.replaceChildren(el("h1", {}, name.name), el("p", { class: "muted", role: "status" }, "Reading the job …"));
  let shown = null;
  let epoch = null;
  await follow(pathOf(name, "/events"), signal, (news) => {
    shown ??= build(main, name, signal);
    // All of it: at the start of each connection, and of the next run. What was there before may be of another process.
    if (news.series) shown.chart.set(news);
    else shown.chart.add(news.point);
    if (news.job) shown.parts.forEach((part) => part.update?.(news.job));
    if (news.epoch && epoch !== null && news.epoch !== epoch) shown.parts.forEach((part) => part.again?.());
    epoch = news.epoch ?? epoch;
  }, (state, why) => {
    live(state, why);
    if (state === "ended") shown?.parts.forEach((part) => part.end?.());
  });
}

/** Puts the parts of the page in place. */
function build(main, name, signal) {
  const chart = over(signal);
  const parts = [head(), progress(), chart, failures(name, signal), verified(), history(), planned(name, signal)];
  main.replaceChildren(...parts.flatMap((part) => part.elements));
  return { chart, parts };
}

function head() {
  const title = el("h1");
  const badge = el("span");
  const pairs = el("p", { class: "muted" });
  const message = el("p", { class: "note", role: "status", hidden: true });
  return {
    elements: [el("p", {}, el("a", { href: "#/" }, "All jobs")), el("div", { class: "title" }, title, badge), pairs, message],
    update(job) {
      say(title, job.namespace === "default" ? job.name : `${job.namespace}/${job.name}`);
      if (badge.textContent !== job.phase) badge.replaceChildren(phase(job.phase));
      const more = job.morePairs > 0 ? ` and ${count(job.morePairs)} more` : "";
      say(pairs, printable(job.pairs.map(({ from, to }) => `${from} → ${to}`).join(", ")) + more);
      message.hidden = !job.message;
      say(message, job.message ? printable(job.message) : "");
    },
  };
}

function progress() {
  const bar = el("progress", { max: 1, "aria-label": "Progress" });
  const run = el("p", { class: "muted" });
  const numbers = figures(FIGURES);
  return {
    elements: [el("h2", {}, "Progress"), run, bar, numbers.element],
    update(job) {
      const { objects = 0, done = 0, bytes: size = 0, doneBytes = 0, skipped = 0, failed = 0 } = job.numbers ?? {};
      say(run, job.run ? `Run ${job.run}` : "No run has started yet.");
      bar.value = part(job.numbers);
      numbers.set("Objects", `${count(done)} of ${count(objects)}`);
      numbers.set("Bytes", `${bytes(doneBytes)} of ${bytes(size)}`);
      numbers.set("Skipped", count(skipped));
      numbers.set("Failed", count(failed), failed > 0);
      numbers.set("Rate", job.rate > 0 ? `${bytes(job.rate)}/s` : "–");
      numbers.set("Time left", job.etaSeconds === null ? "–" : duration(job.etaSeconds));
      numbers.set("Workers", job.workers ? `${count(job.workers.ready)} of ${count(job.workers.desired)}` : "–");
      numbers.set("Queue", job.queue ? `${count(job.queue.visible)} + ${count(job.queue.inFlight)} in flight` : "–");
      numbers.set("Dead letters", count(job.queue?.deadLetters), (job.queue?.deadLetters ?? 0) > 0);
    },
  };
}

function over(signal) {
  const since = el("p", { class: "muted" });
  const drawn = charts(signal);
  return {
    elements: [el("h2", {}, "Over time"), since, drawn.element],
    set(page) {
      say(since, page.since === null ? "" : `In memory since ${time(page.since)}; what was before is not known.`);
      drawn.set(page.series);
    },
    add: drawn.add,
  };
}

function verified() {
  const text = el("p");
  const names = ["Proven", "By size only", "Missing", "Different", "Changed since", "No valid key", "Extraneous"];
  const numbers = figures(names);
  const section = el("section", { hidden: true }, el("h2", {}, "Verification"), text, numbers.element);
  return {
    elements: [section],
    update({ verification: found }) {
      section.hidden = !found;
      if (!found) return;
      const whole = found.whole ? "The copy is whole." : "The sides differ.";
      say(text, `${whole} Run ${found.run}, method ${found.method}, ${time(found.at)}.`);
      const values = [found.proven, found.bySize, found.missing, found.different, found.newer, found.unmappable, found.extra];
      names.forEach((name, place) => numbers.set(name, count(values[place]), name === "Missing" && values[place] > 0));
    },
  };
}

function history() {
  const runs = table("Runs that ended", RUNS);
  const none = el("p", { class: "muted" }, "No run has ended yet.");
  return {
    elements: [el("h2", {}, "History"), none, runs.element],
    update(job) {
      none.hidden = job.runs.length > 0;
      runs.element.hidden = !none.hidden;
      runs.fill(job.runs.map((run) => [
        raw(run.run), phase(run.result), time(run.started), duration((run.ended - run.started) / 1000), count(run.done),
        bytes(run.doneBytes), count(run.skipped), count(run.failed), run.message ? printable(run.message) : "",
      ]));
    },
  };
}
