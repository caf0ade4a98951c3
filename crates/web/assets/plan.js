// What a run would do, by a plan, and what the scan of the last run has found.

import { get, insist, pathOf } from "./api.js";
import { bytes, count, el, say, table, time } from "./dom.js";

const COLUMNS = [{ title: "Objects that are" }, { title: "Number", number: true }, { title: "Bytes", number: true }];
const ACTIONS = { transfer: "Not at the destination", update: "Other content at the destination", skip: "In place",
  ignore: "Hidden by filters", fail: "No valid key", delete: "Not at the source" };
/** Least time between two looks at a scan that goes on, in milliseconds: each reads the ledger. */
const LOOK_EVERY = 15_000;

/** Returns the rows of what a scan has found. */
export function foundRows({ copy, skip, ignore, fail, gone, delete: extra }) {
  const rows = [
    ["Listed at the source", copy.objects + skip.objects + ignore + fail.objects, null],
    ["To copy", copy.objects, copy.bytes],
    ["In place", skip.objects, skip.bytes],
    ["Hidden by filters", ignore, null],
    ["No valid key", fail.objects, fail.bytes],
  ];
  if (gone > 0) rows.push(["In the work list, and gone", gone, null]);
  if (extra !== null) rows.push(["Not at the source", extra, null]);
  return rows.map(([name, objects, size]) => [name, count(objects), size === null ? "–" : bytes(size)]);
}

/** Returns what is said of a scan. */
export function foundText({ run, isWhole, batches, notComparedByContent: weak, leastCost }) {
  const far = isWhole ? `The scan of run ${run} has ended` : `The scan of run ${run} goes on, and has found at least this`;
  const compared = weak > 0 ? ` ${count(weak)} of those in place were not compared by content.` : "";
  const cost = leastCost
    ? ` By the prices of the job that costs at least ${leastCost.currency} ${leastCost.total}, with one request to either side for each object.`
    : "";
  return `${far}: ${count(batches)} batches.${compared}${cost}`;
}

/** Returns the part of a job's page about plans. */
export function planned(name, signal) {
  const plan = ofPlan();
  const scan = ofScan(name, signal);
  const none = el("p", { class: "muted" }, "No plan is kept here. What a run would do and cost, before it starts: ",
    el("code", {}, "s3migrate plan FILE"), " with the manifests of the job. It lists both sides and copies nothing.");
  return {
    elements: [el("h2", {}, "Plan"), none, plan.element, scan.element],
    update(job) {
      none.hidden = job.plan !== null;
      plan.update(job);
      scan.update(job);
    },
    again: scan.again,
    end: scan.end,
  };
}

function ofPlan() {
  const text = el("p");
  const sums = table("What a run would do", COLUMNS);
  const element = el("div", { hidden: true }, text, sums.element);
  let shown = 0;
  return {
    element,
    update({ plan: made }) {
      element.hidden = !made;
      if (!made || made.at === shown) return;
      shown = made.at;
      const { plan } = made;
      say(text, `By the plan of ${time(made.at)}. Estimated cost: ${plan.currency} ${plan.totalCost.toFixed(2)}, in ${count(plan.batches)} batches.`);
      sums.fill(Object.entries(ACTIONS).map(([action, title]) => [title, count(plan[action].objects), bytes(plan[action].bytes)]));
    },
  };
}

function ofScan(name, signal) {
  const text = el("p");
  const sums = table("What the scan has found", COLUMNS);
  const element = el("div", { hidden: true }, text, sums.element);
  /** The run whose scan was seen to its end. */
  let whole = null;
  let phase = null;
  let timer = 0;
  let next = 0;
  let asked = new AbortController();
  signal.addEventListener("abort", () => clearTimeout(timer));

  async function look() {
    next = Date.now() + LOOK_EVERY;
    asked.abort();
    asked = new AbortController();
    const of = AbortSignal.any([signal, asked.signal]);
    try {
      const found = await insist(() => get(pathOf(name, "/scan"), of), of, () => {});
      whole = found.isWhole ? found.run : null;
      element.hidden = false;
      say(text, foundText(found));
      sums.fill(foundRows(found));
    } catch (error) {
      // Without a run, or its record, there is nothing to say; who may not see it learns so from the page itself.
      if (!of.aborted) element.hidden = true;
    }
  }

  return {
    element,
    update(job) {
      // A scan that has just ended is told so at once.
      if (job.phase !== phase) next = 0;
      phase = job.phase;
      if (job.run === null || job.run === whole) return;
      clearTimeout(timer);
      timer = setTimeout(look, Math.max(0, next - Date.now()));
    },
    again() {
      whole = null;
      clearTimeout(timer);
      timer = setTimeout(look, Math.max(0, next - Date.now()));
    },
    end() {
      clearTimeout(timer);
      asked.abort();
    },
  };
}
