// The objects that failed: how many and why, page by page, filtered, and as a file.

import { get, insist, pathOf, query, request } from "./api.js";
import { counter, described } from "./counting.js";
import { bytes, count, el, printable, raw, say, table, time } from "./dom.js";

const ROWS = [
  { title: "Key", text: true }, { title: "Class" }, { title: "Reason", text: true }, { title: "Size", number: true },
  { title: "Attempts", number: true }, { title: "When" },
];
const CLASSES = [{ title: "Class" }, { title: "Objects", number: true }, { title: "Bytes", number: true }, { title: "Such as", text: true }];

/** Rows of a full page. The server ends a page with fewer when it has read many records for it. */
const FULL = 100;
/** Least time between two readings while failures are added, in milliseconds. */
const READ_EVERY = 5_000;

/** Returns the part of a job's page about failures. */
export function failures(job, signal) {
  // `run` is the one that is chosen, none for the last one; `shown` is the one that the rows are of.
  const state = { run: "", class: "", text: "", places: [""], shown: null, last: null, known: 0, seen: null, timer: 0, next: 0 };
  signal.addEventListener("abort", () => clearTimeout(state.timer));
  const parts = build(state, { show, save, back, next });
  const page = (form, wanted, of) => get(pathOf(job, `/failures${form}${query(wanted)}`), of);
  const counts = counter((run, after, of) => page("/counts", { run, after }, of), signal, (sums, how) => parts.counted(sums, how));
  let asked = new AbortController();

  /** Reads a page of rows. A filter that fits little is looked for in several requests. */
  async function rows(of) {
    // The first page is of the last run, whichever that is by now, and those after it are of the same one.
    let run = state.run || (state.places.length > 1 ? state.shown : "");
    let [after, read, unreadable] = [state.places.at(-1), 0, 0];
    for (;;) {
      const wanted = { run, class: state.class, text: state.text, after };
      const found = await insist(() => page("", wanted, of), of, (why) => parts.note(`${why}. Trying again.`));
      run = found.run;
      read += found.read;
      unreadable += found.unreadable;
      if (found.failures.length > 0 || found.next === null) {
        state.shown = run;
        parts.rows({ ...found, unreadable }, state.places.length);
        return;
      }
      after = found.next;
      parts.note(`Looking: ${count(read)} failures read …`);
    }
  }

  async function show(recount) {
    asked.abort();
    asked = new AbortController();
    const of = AbortSignal.any([signal, asked.signal]);
    const before = state.shown;
    try {
      await rows(of);
      if (recount || state.shown !== before) counts.count(state.shown);
    } catch (error) {
      if (of.aborted) return;
      if (error.status === 404 && state.places.length > 1) anew();
      else parts.note(error.status === 404 && state.run === "" ? "No object has failed." : error.message);
    }
  }

  /** Begins anew: what is shown is of another run, or of a ledger that is not there any more. */
  function anew() {
    asked.abort();
    counts.drop();
    Object.assign(state, { places: [""], shown: null });
    parts.clear();
    if (state.known > 0 || state.run !== "") later();
  }

  /** Reads again, soon: the first page, and the numbers; the numbers alone while somebody is at a later page. */
  function later() {
    clearTimeout(state.timer);
    state.timer = setTimeout(() => {
      state.next = Date.now() + READ_EVERY;
      if (state.places.length > 1) counts.count(state.shown);
      else show(true);
    }, Math.max(0, state.next - Date.now()));
  }

  async function save() {
    parts.note("Preparing the file …");
    try {
      const wanted = { run: state.run || state.shown, class: state.class, text: state.text };
      // Browsers keep a blob of this size in a file, and not in the page's memory.
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
    end() {
      clearTimeout(state.timer);
      asked.abort();
      counts.end("s3migrate has ended");
    },
    /** The server has been started anew, or is another one: nothing of the one before is added to. */
    again() {
      counts.drop();
      if (state.shown !== null) show(true);
    },
    /** Reads again when the run or its number of failures has changed. */
    update({ run, runs, numbers }) {
      state.known = numbers?.failed ?? 0;
      const isGone = parts.runs(run, runs);
      if (isGone) state.run = "";
      if (isGone || (state.run === "" && state.last !== null && state.last !== run)) anew();
      state.last = run;
      const seen = `${run} ${state.known}`;
      if (seen === state.seen) return;
      state.seen = seen;
      parts.none(state.known === 0);
      parts.total();
      if (run !== null && (state.known > 0 || state.run !== "")) later();
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
  let counted = null;
  following.addEventListener("click", () => next(after));
  const filter = (event) => {
    event?.preventDefault();
    const recount = state.run !== run.value || state.shown === null;
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
    /** Offers the runs that have failures. Returns true if the one that was chosen is not among them any more. */
    runs(last, ended) {
      const ids = ended.filter((one) => one.failed > 0 && one.run !== last).map((one) => one.run);
      const chosen = run.value;
      if (!options(run, "last run", ids)) return false;
      run.value = ids.includes(chosen) ? chosen : "";
      return state.run !== "" && !ids.includes(state.run);
    },
    /** Forgets rows and numbers. */
    clear() {
      counted = null;
      [list, sums].forEach((each) => each.fill([]));
      [note, total].forEach((each) => say(each, ""));
      [previous, following].forEach((each) => { each.disabled = true; });
    },
    /** Shows a count, or what there is of it. */
    counted(found, how) {
      counted = [found, how];
      const all = [...found.classes].sort((a, b) => b[1].objects - a[1].objects);
      sums.fill(all.map(([name, sum]) => [
        el("button", { type: "button", class: "link", onclick: () => choose(name) }, name),
        count(sum.objects), bytes(sum.bytes), printable(sum.example),
      ]));
      const chosen = kind.value;
      const names = new Set([...all.map(([name]) => name), ...(chosen ? [chosen] : [])]);
      // Somebody may be choosing.
      if (options(kind, "all", [...names].sort())) kind.value = chosen;
      this.total();
    },
    /** Says how many failures there are, by the last count and by what the job knows of its last run. */
    total() {
      if (counted) say(total, described(...counted, counted[0].run === state.last ? state.known : 0, count));
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
      const isPart = after !== null && page.failures.length < FULL;
      say(note, `${isPart ? `${found} at least: the next page looks further` : found}${unreadable}.`);
    },
  };
}

/** Offers these, and none of them under a name. Returns false if they were there already. */
function options(select, none, values) {
  const there = [...select.options].slice(1).map((option) => option.value);
  if (there.length === values.length && values.every((value, place) => value === there[place])) return false;
  select.replaceChildren(el("option", { value: "" }, none), ...values.map((value) => el("option", { value }, value)));
  return true;
}
