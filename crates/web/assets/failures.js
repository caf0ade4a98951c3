// The objects that failed: how many and why, page by page, filtered, and as a file.

import { get, pathOf, query, request } from "./api.js";
import { bytes, count, el, printable, raw, say, table, time } from "./dom.js";

const ROWS = [
  { title: "Key", text: true }, { title: "Class" }, { title: "Reason", text: true }, { title: "Size", number: true },
  { title: "Attempts", number: true }, { title: "When" },
];
const CLASSES = [{ title: "Class" }, { title: "Objects", number: true }, { title: "Bytes", number: true }, { title: "Such as", text: true }];

/** Least time between two countings while failures are added, in milliseconds. */
const COUNT_EVERY = 5_000;

/** Returns the part of a job's page about failures. */
export function failures(job, signal) {
  const state = { run: "", class: "", text: "", places: [""], seen: null, timer: 0, next: 0 };
  signal.addEventListener("abort", () => clearTimeout(state.timer));
  const parts = build(state, { show, save, back, next });
  let asked = new AbortController();

  /** Adds up the counts, of which each request has a few thousand. */
  async function countAll(of) {
    const classes = new Map();
    let after = null;
    let read = 0;
    do {
      const page = await get(pathOf(job, `/failures/counts${query({ run: state.run, after })}`), of);
      for (const [name, found] of Object.entries(page.classes)) {
        const sum = classes.get(name) ?? { objects: 0, bytes: 0, example: found.example };
        classes.set(name, { ...sum, objects: sum.objects + found.objects, bytes: sum.bytes + found.bytes });
      }
      [after, read] = [page.next, read + page.read];
      parts.classes(classes, read, after !== null);
    } while (after !== null);
  }

  /** Reads a page of rows. A filter that fits little is looked for in several requests. */
  async function rows(of) {
    const wanted = { run: state.run, class: state.class, text: state.text };
    let after = state.places.at(-1);
    let read = 0;
    for (;;) {
      const page = await get(pathOf(job, `/failures${query({ ...wanted, after })}`), of);
      read += page.read;
      if (page.failures.length > 0 || page.next === null) {
        parts.rows(page, state.places.length);
        return;
      }
      after = page.next;
      parts.note(`Looking: ${count(read)} failures read …`);
    }
  }

  async function show(recount) {
    asked.abort();
    asked = new AbortController();
    const of = AbortSignal.any([signal, asked.signal]);
    try {
      await rows(of);
      if (recount) await countAll(of);
    } catch (error) {
      if (!of.aborted) parts.note(error.status === 404 ? "No object has failed." : error.message);
    }
  }

  async function save() {
    parts.note("Preparing the file …");
    try {
      const wanted = { run: state.run, class: state.class, text: state.text };
      const file = await (await request(pathOf(job, `/failures.csv${query(wanted)}`), signal)).blob();
      const address = URL.createObjectURL(file);
      el("a", { href: address, download: `failures-${job.name}.csv` }).click();
      // The browser may read it after the click.
      setTimeout(() => URL.revokeObjectURL(address), 60_000);
      parts.note(`The file has ${bytes(file.size)}.`);
    } catch (error) {
      if (!signal.aborted) parts.note(`The file is not complete and was dropped: ${error.message}`);
    }
  }

  function back() {
    state.places.pop();
    show(state.places.length === 1);
  }

  function next(place) {
    state.places.push(place);
    show(false);
  }

  return {
    elements: parts.elements,
    /** Nothing can be read any more. */
    end: () => clearTimeout(state.timer),
    /** Reads again when the run or its number of failures has changed, unless somebody is at a later page. */
    update({ run, runs, numbers }) {
      parts.runs(run, runs);
      const failed = numbers?.failed ?? 0;
      const seen = `${run} ${failed}`;
      if (seen === state.seen) return;
      state.seen = seen;
      parts.none(failed === 0);
      if (run === null || state.places.length > 1 || (failed === 0 && state.run === "")) return;
      clearTimeout(state.timer);
      state.timer = setTimeout(() => {
        state.next = Date.now() + COUNT_EVERY;
        show(true);
      }, Math.max(0, state.next - Date.now()));
    },
  };
}

function build(state, { show, save, back, next }) {
  const note = el("p", { class: "muted", role: "status" });
  const total = el("p", { class: "muted" });
  const none = el("p", { class: "muted" }, "No object has failed in this run.");
  const list = table("Failed objects", ROWS);
  const sums = table("Failures by class", CLASSES);
  const run = el("select", {}, el("option", { value: "" }, "last run"));
  const kind = el("select", {}, el("option", { value: "" }, "all"));
  const text = el("input", { type: "search", size: 24, maxlength: 300 });
  const previous = el("button", { type: "button", disabled: true, onclick: back }, "Previous page");
  const following = el("button", { type: "button", disabled: true }, "Next page");
  let after = null;
  following.addEventListener("click", () => next(after));
  const filter = (event) => {
    event?.preventDefault();
    const recount = state.run !== run.value;
    Object.assign(state, { run: run.value, class: kind.value, text: text.value, places: [""] });
    show(recount);
  };
  const form = el("form", { onsubmit: filter, role: "search", "aria-label": "Failures" },
    el("label", {}, "Run", run), el("label", {}, "Class", kind), el("label", {}, "Key or reason has", text),
    el("button", {}, "Filter"), el("button", { type: "button", onclick: save }, "Save as CSV"));
  const pages = el("p", {}, previous, " ", following);
  const details = el("div", { hidden: true }, total, sums.element, form, note, list.element, pages);
  const choose = (name) => { kind.value = name; filter(); };
  return {
    elements: [el("h2", {}, "Failures"), none, details],
    note: (words) => say(note, words),
    none(isNone) {
      none.hidden = !isNone;
      details.hidden = isNone && run.options.length < 2;
    },
    runs(live, ended) {
      const ids = ended.filter((one) => one.failed > 0 && one.run !== live).map((one) => one.run);
      if (run.options.length === ids.length + 1) return;
      const chosen = run.value;
      run.replaceChildren(el("option", { value: "" }, "last run"), ...ids.map((id) => el("option", { value: id }, id)));
      run.value = ids.includes(chosen) ? chosen : "";
    },
    classes(found, read, isGoingOn) {
      const all = [...found].sort((a, b) => b[1].objects - a[1].objects);
      sums.fill(all.map(([name, sum]) => [
        el("button", { type: "button", class: "link", onclick: () => choose(name) }, name),
        count(sum.objects), bytes(sum.bytes), printable(sum.example),
      ]));
      const chosen = kind.value;
      kind.replaceChildren(el("option", { value: "" }, "all"), ...all.map(([name]) => el("option", { value: name }, name)));
      kind.value = found.has(chosen) ? chosen : "";
      say(total, isGoingOn ? `Counting: ${count(read)} failures read …` : `${count(read)} failures in this run.`);
    },
    rows(page, number) {
      list.fill(page.failures.map((failure) => [
        el("span", {}, raw(failure.bucket), "/", raw(failure.key)), failure.class, printable(failure.message),
        bytes(failure.size), count(failure.attempts), time(failure.at),
      ]));
      after = page.next;
      previous.disabled = number < 2;
      following.disabled = after === null;
      const unreadable = page.unreadable > 0 ? `; ${count(page.unreadable)} records can't be read` : "";
      const many = page.failures.length === 1 ? "1 failure" : `${count(page.failures.length)} failures`;
      const found = page.failures.length === 0 ? "No failure fits" : `Page ${number}, ${many}`;
      say(note, `${found}${unreadable}.`);
    },
  };
}
