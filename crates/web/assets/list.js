// The list of jobs.

import { Refused, follow, query } from "./api.js";
import { bytes, count, duration, el, phase, printable, say, table, time } from "./dom.js";

const COLUMNS = [
  { title: "Job" }, { title: "Phase" }, { title: "Progress" }, { title: "Objects", number: true },
  { title: "Failed", number: true }, { title: "Rate", number: true }, { title: "Time left", number: true },
  { title: "State", text: true },
];

/** Returns the part that is done, from 0 to 1. */
export function part(numbers) {
  if (!numbers || numbers.objects === 0) return 0;
  return numbers.bytes > 0 ? numbers.doneBytes / numbers.bytes : numbers.done / numbers.objects;
}

function row(job) {
  const numbers = job.numbers;
  const label = job.namespace === "default" ? job.name : `${job.namespace}/${job.name}`;
  const address = `#/jobs/${encodeURIComponent(job.namespace)}/${encodeURIComponent(job.name)}`;
  return [
    el("a", { href: address }, label),
    phase(job.phase),
    el("progress", { max: 1, value: part(numbers), "aria-label": `Progress of ${label}` }),
    numbers ? `${count(numbers.done)} of ${count(numbers.objects)}` : "–",
    count(numbers?.failed ?? 0),
    job.rate > 0 ? `${bytes(job.rate)}/s` : "–",
    job.etaSeconds === null ? "–" : duration(job.etaSeconds),
    job.message ? printable(job.message) : "",
  ];
}

/** Shows the list until the signal. */
export async function showList(main, signal, live) {
  const namespace = sessionStorage.getItem("namespace") ?? "";
  const jobs = table("Jobs", COLUMNS);
  const note = el("p", { class: "muted", role: "status" }, "Reading the jobs …");
  const input = el("input", { value: namespace, placeholder: "all", autocapitalize: "none", spellcheck: "false" });
  const restart = new AbortController();
  const submit = (event) => {
    event.preventDefault();
    sessionStorage.setItem("namespace", input.value.trim());
    restart.abort();
  };
  main.replaceChildren(el("h1", {}, "Jobs"),
    el("form", { onsubmit: submit }, el("label", {}, "Namespace", input), el("button", {}, "Show")), note, jobs.element);
  const either = AbortSignal.any([signal, restart.signal]);
  const update = (list) => {
    jobs.fill(list.jobs.map(row));
    const some = list.jobs.length === 1 ? "1 job" : `${count(list.jobs.length)} jobs`;
    const more = list.leftOut > 0 ? `; ${count(list.leftOut)} more are not shown` : "";
    say(note, list.isComplete ? `${some}${more}. Numbers over time since ${time(list.since)}.` : "Reading the jobs …");
  };
  try {
    await follow(`jobs/events${query({ namespace })}`, either, update, live);
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 403) throw error;
    note.className = "note bad";
    say(note, `${error.message}. Enter a namespace in which you may list migrationjobs.`);
    await new Promise((resolve) => { either.addEventListener("abort", resolve); });
  }
  if (restart.signal.aborted && !signal.aborted) await showList(main, signal, live);
}
