// Checks the page in Chromium: check.mjs run|many ADDRESS. See make ui-check; the test that starts this is
// cli/tests/program/page.rs.

import assert from "node:assert/strict";
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { LIMIT, accessible, figures, open, pair, pictures, status, until } from "./browser.mjs";

const [part, address] = process.argv.slice(2);
const FAILED = Number(process.env.FAILED);
/** Most milliseconds that an action on a page of 100,000 failures may take. */
const USABLE = 3_000;
/** Most bytes that the page's script may hold then. */
const MOST_HEAP = 32 * 2 ** 20;

const text = (page, selector) => page.$eval(selector, (element) => element.textContent);

/** Opens the only job; `meanwhile` waits for what is seen before it is there. */
async function openJob(page, meanwhile = async () => {}) {
  const link = await page.waitForSelector("tbody a");
  await link.click();
  await meanwhile();
  await page.waitForFunction(() => document.querySelectorAll("canvas").length === 4);
}

/** Waits for a text anywhere in the page, and returns the milliseconds that it took. */
async function seen(page, wanted) {
  const begun = Date.now();
  await page.waitForFunction((words) => document.body.innerText.includes(words), { timeout: LIMIT }, wanted);
  return Date.now() - begun;
}

/** The numbers of the page must be between those of two looks at the status. */
async function equalsStatus(page) {
  const before = await status();
  const [done, objects] = pair((await until(page, "the page", (found) => pair(found.Objects ?? "")[0] >= before.done)).Objects);
  const after = await status();
  assert.ok(before.done <= done && done <= after.done, `${done}: ${before.done} to ${after.done}`);
  assert.ok(before.objects <= objects && objects <= after.objects, `${objects}: ${before.objects} to ${after.objects}`);
  console.log(`status: ${before.done} to ${after.done} of ${after.objects}, and the page ${done}`);
}

/** A key that would be markup, a formula and a terminal's escape is text, and nothing else. */
async function hostile(page) {
  const shown = await page.$$eval("code.raw", (all) => all.map((one) => one.textContent));
  const keys = shown.filter((key) => key.includes("<img src=x onerror=alert(1)><script>alert(2)</script>\\u{1b}[2J"));
  assert.equal(keys.length, 3, `hostile keys are shown, escaped: ${shown}`);
  assert.ok(keys.every((key) => key.includes("\\r\\n\\u{202e}&amp;")), keys[0]);
  const made = await page.$$eval("#main img, #main script, #main iframe", (all) => all.length);
  assert.equal(made, 0, "nothing of a key became an element");
}

/** Answers what is asked while `action` goes on; `answer` returns none for what the server shall answer. */
async function instead(page, answer, action) {
  let isOver = false;
  const handle = async (request) => {
    const given = await answer(request);
    // What is still asked when this ends goes to the server.
    if (!isOver) await (given ? request.respond(given) : request.continue());
  };
  await page.setRequestInterception(true);
  page.on("request", handle);
  await action();
  isOver = true;
  await page.setRequestInterception(false);
  page.off("request", handle);
}

const refusal = (status, error) => ({ status, contentType: "application/json", body: JSON.stringify({ error }) });

/** A server that has not read the jobs yet, and one that is away in the middle of a count: both are waited for. */
async function checkAway(page, faults) {
  let [jobs, counts] = [0, 0];
  const answer = (request) => {
    if (request.url().endsWith("/events") && request.url().includes("/namespaces/") && jobs < 2) {
      jobs += 1;
      return refusal(503, "the jobs are being read");
    }
    if (!request.url().includes("/failures/counts")) return null;
    counts += 1;
    return counts === 5 ? refusal(503, "the ledger is away") : null;
  };
  await instead(page, answer, async () => {
    await openJob(page, () => seen(page, "The server can't answer now (the jobs are being read)"));
    await seen(page, "the count waits (the ledger is away)");
    await seen(page, "At least 4,000 failures in this run");
  });
  drop(faults, 3, "503");
}

/** A server that was started anew: its series is shown, and nothing of the one before. */
async function checkRestart(page) {
  const path = await page.evaluate(() => location.hash.replace("#/jobs/", "").split("/"));
  const address = `api/v1/namespaces/${path[0]}/jobs/${path[1]}`;
  const before = await page.evaluate(async (where) => {
    const headers = { Authorization: `Bearer ${sessionStorage.getItem("token")}` };
    return (await fetch(where, { headers })).json();
  }, address);
  const old = { ...before, epoch: "before", since: 1 };
  const isOld = (wanted) => page.waitForFunction((is1970) => [...document.querySelectorAll("p")].some((one) =>
    one.textContent.startsWith("In memory since") && /19(69|70)/.test(one.textContent) === is1970), { timeout: LIMIT }, wanted);
  let streams = 0;
  let go;
  const seenOld = new Promise((resolve) => { go = resolve; });
  const answer = async (request) => {
    if (!request.url().endsWith(`${address}/events`)) return null;
    streams += 1;
    if (streams === 1) return { status: 200, contentType: "text/event-stream", body: `data: ${JSON.stringify(old)}\n\n` };
    await seenOld;
    return null;
  };
  await instead(page, answer, async () => {
    await page.evaluate(() => { location.hash = "#/"; });
    await openJob(page, () => isOld(true));
    go();
    await isOld(false);
  });
  await seen(page, `${FAILED.toLocaleString("en")} failures in this run.`);
}

/** Who may not see a job is told so, and the page asks no more. */
async function checkForbidden(page, faults) {
  let asked = 0;
  const answer = (request) => {
    if (!request.url().includes("/api/v1/namespaces/")) return null;
    asked += 1;
    return refusal(403, "viewer may not get this migrationjob");
  };
  await instead(page, answer, async () => {
    await page.evaluate(() => { location.hash = "#/"; });
    await (await page.waitForSelector("tbody a")).click();
    await seen(page, "Not allowed");
    await seen(page, "viewer may not get this migrationjob");
  });
  assert.equal(asked, 1, "it was asked for again");
  drop(faults, 1, "403");
  await page.evaluate(() => { location.hash = "#/"; });
}

/** Drops what Chromium logs of answers that are no success, of which there have to be as many. */
function drop(faults, number, status) {
  const known = faults.filter((fault) => fault.includes(`status of ${status}`));
  assert.equal(known.length, number, `${faults}`);
  known.forEach((fault) => faults.splice(faults.indexOf(fault), 1));
}

/** Memory of the page's script does not grow with the number of failures. */
async function smallHeap(page) {
  const session = await page.createCDPSession();
  await session.send("HeapProfiler.collectGarbage");
  const { JSHeapUsedSize: used } = await page.metrics();
  console.log(`${FAILED} failures: the page's script holds ${(used / 2 ** 20).toFixed(1)} MiB`);
  assert.ok(used < MOST_HEAP, `${used} bytes`);
}

async function checkRun() {
  const { browser, page, faults } = await open(address);
  await page.waitForSelector("tbody a");
  assert.ok(!page.url().includes("token"), "the token has left the address");
  await accessible(page, "list");
  await openJob(page);
  await until(page, "the first objects", (found) => pair(found.Objects)[1] > 0);
  await pictures(page, "start");
  await until(page, "failures", (found) => Number(found.Failed) === FAILED);
  await seen(page, `${FAILED} failures in this run`);
  await hostile(page);
  await pictures(page, "failure", "Failures");
  await equalsStatus(page);
  await until(page, "the middle", (found) => pair(found.Objects)[0] * 2 > pair(found.Objects)[1]);
  await equalsStatus(page);
  await pictures(page, "middle");
  await accessible(page, "job");
  await seen(page, "s3migrate has ended");
  const last = await status();
  const found = await figures(page);
  assert.deepEqual(pair(found.Objects), [last.done, last.objects]);
  assert.equal(Number(found.Failed), last.failed);
  assert.equal(last.failed, FAILED);
  assert.equal(await text(page, ".title .phase"), last.phase);
  await seen(page, "Verification");
  await seen(page, "Estimated cost");
  await seen(page, "Listed at the source");
  console.log(`end: ${found.Objects}, ${found.Failed} failed, ${last.phase}, as the status`);
  await pictures(page, "end");
  assert.deepEqual(faults, []);
  await browser.close();
}

async function checkMany() {
  const { browser, page, faults } = await open(address);
  await checkForbidden(page, faults);
  const opened = Date.now();
  await checkAway(page, faults);
  const rows = "table[aria-label='Failed objects'] tbody tr";
  const took = async (name, action, wanted, limit = USABLE) => {
    const begun = Date.now();
    await action();
    await wanted();
    const millis = Date.now() - begun;
    assert.ok(millis < limit, `${name} took ${millis} ms`);
    console.log(`${FAILED} failures: ${name} in ${millis} ms`);
  };
  await page.waitForFunction((selector) => document.querySelectorAll(selector).length === 100, {}, rows);
  console.log(`${FAILED} failures: opened in ${Date.now() - opened} ms`);
  await took("all are counted", async () => {}, () => seen(page, `${FAILED.toLocaleString("en")} failures in this run`), LIMIT);
  for (const number of [2, 3, 4]) {
    await took(`page ${number}`, () => press(page, "Next page"), () => seen(page, `Page ${number}, 100 failures`));
  }
  await took("back", () => press(page, "Previous page"), () => seen(page, "Page 3, 100 failures"));
  const key = `many/${String(FAILED - 1).padStart(22, "0")}`;
  await page.type("input[type=search]", key);
  await took("the last one is found", () => press(page, "Filter"), () => seen(page, "Page 1, 1 failure"), 20_000);
  assert.ok((await text(page, rows)).includes(key));
  await page.$eval("input[type=search]", (input) => { input.value = ""; });
  await took("by class", () => press(page, "KeyNotMappable"), () => seen(page, "Page 1, 100 failures"));
  const elements = await page.$$eval("*", (all) => all.length);
  assert.ok(elements < 5_000, `the page has ${elements} elements`);
  await save(page, took);
  await checkRestart(page);
  await smallHeap(page);
  await accessible(page, "100,000 failures");
  await pictures(page, "many", "Failures");
  assert.deepEqual(faults, []);
  await browser.close();
}

async function press(page, name) {
  const button = await page.waitForSelector(`::-p-xpath(//button[normalize-space()="${name}" and not(@disabled)])`);
  await button.evaluate((element) => element.click());
}

/** Saves all failures as CSV, and counts the lines. */
async function save(page, took) {
  const directory = await mkdtemp(path.join(tmpdir(), "ui-check-"));
  const session = await page.createCDPSession();
  await session.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: directory });
  await took("all are saved", () => press(page, "Save as CSV"), async () => {
    await seen(page, "The file has");
    for (;;) {
      const names = await readdir(directory);
      if (names.some((name) => name.endsWith(".csv"))) return;
      await page.evaluate(() => new Promise((resolve) => { setTimeout(resolve, 50); }));
    }
  }, LIMIT);
  const file = (await readdir(directory)).find((name) => name.endsWith(".csv"));
  const lines = (await readFile(path.join(directory, file), "utf8")).trimEnd().split("\n");
  assert.equal(lines.length, FAILED + 1);
  await rm(directory, { recursive: true });
}

await (part === "many" ? checkMany() : checkRun());
