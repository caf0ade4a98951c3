// Tests of the page's modules without a browser: node --test. What needs a browser is in check.mjs.

import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Refused, follow, insist } from "../../crates/web/assets/api.js";
import { countAll, counter, described } from "../../crates/web/assets/counting.js";
import { foundRows, foundText } from "../../crates/web/assets/plan.js";

globalThis.sessionStorage = { getItem: () => "token" };

beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "Date"] }));
afterEach(() => mock.reset());

/** Lets time pass until something has ended. */
async function ended(promise) {
  let isOver = false;
  const over = () => { isOver = true; };
  promise.then(over, over);
  while (!isOver) {
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => { setImmediate(resolve); });
    mock.timers.tick(100);
  }
  return promise;
}

const never = () => new AbortController().signal;
const busy = () => new Refused(503, "the jobs are being read");

/** Answers requests with these in turn, and the last one again and again. Returns the times of the requests. */
function answer(...answers) {
  const times = [];
  mock.method(globalThis, "fetch", async () => {
    const next = answers[Math.min(times.length, answers.length - 1)];
    times.push(Date.now());
    return next();
  });
  return times;
}

const refusal = (status, error) => () => new Response(JSON.stringify({ error }), { status });
const events = (...all) => () => new Response(all.map((data) => `data: ${JSON.stringify(data)}\n\n`).join(""));

test("a server that can't answer yet is asked again, ever more rarely, and its reader is told", async () => {
  const times = answer(refusal(503, "the jobs are being read"), refusal(503, "the jobs are being read"),
    refusal(503, "the jobs are being read"), () => { throw new TypeError("no network"); },
    () => new Response('data: {"job":1}\n\nevent: end\ndata: {}\n\n'));
  const [got, live] = [[], []];
  await ended(follow("x", never(), (data) => got.push(data), (...state) => live.push(state)));
  assert.deepEqual(got, [{ job: 1 }]);
  assert.deepEqual(live.slice(0, 4), [...Array(3).fill(["lost", "the jobs are being read"]), ["lost", ""]]);
  assert.deepEqual(live.slice(4).map(([state]) => state), ["live", "ended"]);
  const waits = times.slice(1).map((time, place) => time - times[place]);
  assert.ok(waits.every((wait, place) => place === 0 || wait > 1.5 * waits[place - 1]), `${waits}`);
});

test("who may not see it is told at once, and nothing is asked again", async () => {
  for (const status of [401, 403, 404]) {
    const times = answer(refusal(status, "no"));
    await assert.rejects(ended(follow("x", never(), () => {}, () => {})), { status, message: "no" });
    await assert.rejects(ended(insist(() => { throw new Refused(status, "no"); }, never(), () => {})), { status });
    assert.equal(times.length, 1);
    mock.restoreAll();
  }
});

test("a right that is taken away ends a page that was open", async () => {
  const times = answer(events({ job: 1 }), refusal(403, "no"));
  await assert.rejects(ended(follow("x", never(), () => {}, () => {})), { status: 403 });
  assert.equal(times.length, 2);
});

test("waits end with the page", async () => {
  const left = new AbortController();
  const times = answer(() => { left.abort(); return refusal(503, "no")(); });
  await ended(follow("x", left.signal, () => {}, () => {}));
  assert.equal(times.length, 1);
});

/** Pages of failures: `pages` pages of 1,000 each. */
function ledger(pages) {
  return async (run, after) => {
    const number = Number(after ?? 0);
    const next = number + 1 < pages ? String(number + 1) : null;
    const classes = { Refused: { objects: 999, bytes: 10, example: `of ${number}` }, Archived: { objects: 1, bytes: 5, example: "a" } };
    return { run, classes, read: 1000, unreadable: 1, next };
  };
}

test("a count is whole though the server was away in the middle, and counts no page twice", async () => {
  const read = ledger(100);
  let asked = 0;
  const whys = [];
  const sums = await ended(countAll("r", async (run, after) => {
    asked += 1;
    if (asked % 10 === 5) throw asked % 20 === 5 ? busy() : new TypeError("no network");
    return read(run, after);
  }, never(), (_, why) => { if (why) whys.push(why); }));
  assert.deepEqual([sums.read, sums.unreadable, sums.classes.size], [100_000, 100, 2]);
  assert.deepEqual(sums.classes.get("Refused"), { objects: 99_900, bytes: 1_000, example: "of 0" });
  assert.deepEqual([...new Set(whys)], ["the jobs are being read", "no network"]);
});

test("what is counted so far is called a part, and so is what can't be counted to its end", async () => {
  const shown = [];
  const read = ledger(3);
  const counts = counter(async (run, after) => {
    if (after === "2") throw new Refused(403, "not yours");
    return read(run, after);
  }, never(), (sums, how) => shown.push([sums.read, how.isWhole, described(sums, how, 0, String)]));
  await ended(counts.count("r"));
  assert.deepEqual(shown.map(([number, isWhole]) => [number, isWhole]), [[1000, false], [2000, false], [2000, false]]);
  assert.match(shown[0][2], /^At least 1000 failures in this run; 1 more records can't be read: counting/);
  assert.match(shown[2][2], /^At least 2000 .*the count ended before it was whole \(not yours\)/);
});

test("a whole count is called a part once the job knows of more failures", () => {
  const sums = { run: "r", classes: new Map(), read: 23, unreadable: 0 };
  const how = { isWhole: true, isOver: true, why: "" };
  assert.equal(described(sums, how, 23, String), "23 failures in this run.");
  assert.match(described(sums, how, 24, String), /^At least 23 failures in this run: more came/);
  assert.match(described({ ...sums, unreadable: 1 }, how, 24, String), /^23 failures in this run; 1 more/);
});

test("a count of another run drops the one that goes on, and no page of it is added", async () => {
  const shown = [];
  const pages = { old: ledger(1000), new: ledger(2) };
  const counts = counter(async (run, after, signal) => {
    const page = await pages[run](run, after);
    if (run === "old" && after === "3") switched ??= counts.count("new");
    signal.throwIfAborted();
    return page;
  }, never(), (sums, how) => shown.push([sums.run, sums.read, how.isWhole]));
  let switched;
  await ended(counts.count("old"));
  await ended(switched);
  const [last] = shown.slice(-1);
  assert.deepEqual(last, ["new", 2000, true]);
  assert.ok(shown.every(([run], place) => run === "new" || shown[place + 1][0] === "old" || shown[place + 1][1] === 1000));
});

test("failures that come during a count are in the next one, and parts of that are not shown", async () => {
  const shown = [];
  let pages = 3;
  const counts = counter(async (run, after) => {
    if (after === "1" && pages === 3) {
      counts.count(run);
      const page = await ledger(3)(run, after);
      pages = 4;
      return page;
    }
    return ledger(pages)(run, after);
  }, never(), (sums, how) => shown.push([sums.read, how.isWhole]));
  await ended(counts.count("r"));
  const wholes = shown.filter(([, isWhole]) => isWhole);
  assert.ok(wholes.length === 2 && wholes[1][0] === 4000, JSON.stringify(shown));
  assert.ok(shown.findLastIndex(([, isWhole]) => !isWhole) < shown.findIndex(([, isWhole]) => isWhole), JSON.stringify(shown));
});

test("what a scan has found is a plan as far as it goes, and says so", () => {
  const scan = {
    run: "r", isWhole: false, copy: { objects: 1000, bytes: 2048 }, skip: { objects: 500, bytes: 5 }, notComparedByContent: 7,
    ignore: 2, fail: { objects: 1, bytes: 9 }, gone: 0, delete: null, batches: 10, leastCost: { currency: "EUR", total: "0.9" },
  };
  assert.deepEqual(foundRows(scan).slice(0, 3), [
    ["Listed at the source", "1,503", "–"], ["To copy", "1,000", "2.0 KiB"], ["In place", "500", "5 B"],
  ]);
  assert.equal(foundRows({ ...scan, gone: 6, delete: 0 }).length, foundRows(scan).length + 2);
  assert.match(foundText(scan), /^The scan of run r goes on, and has found at least this: 10 batches\. 7 of .* at least EUR 0\.9/);
  assert.match(foundText({ ...scan, isWhole: true, leastCost: null, notComparedByContent: 0 }), /^The scan of run r has ended: 10 batches\.$/);
});
