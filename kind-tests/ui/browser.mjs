// A page in Chromium: what it logs, its pictures, its numbers, and what axe finds.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { promisify } from "node:util";
import puppeteer from "puppeteer-core";

const run = promisify(execFile);
const require = createRequire(import.meta.url);
/** Sizes alone: to make a screen a touch screen, the page would be loaded again. */
const SCREENS = { desktop: { width: 1280, height: 900 }, phone: { width: 390, height: 844 } };
const SCHEMES = ["light", "dark"];
/** Impacts by axe that must not be. */
const SERIOUS = new Set(["serious", "critical"]);

/** Time for anything that is waited for, in milliseconds. */
export const LIMIT = 120_000;

/** Opens an address, and collects everything that a page must not do. */
export async function open(address) {
  const browser = await puppeteer.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    // Without a sandbox only where root has none.
    args: process.getuid() === 0 ? ["--no-sandbox"] : [],
  });
  const page = await browser.newPage();
  const faults = [];
  page.on("console", (message) => {
    if (["error", "warn", "warning"].includes(message.type())) faults.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  page.on("dialog", (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("request", (request) => {
    const origin = new URL(address).origin;
    if (!request.url().startsWith(origin) && !request.url().startsWith("blob:")) faults.push(`outside: ${request.url()}`);
  });
  page.setDefaultTimeout(LIMIT);
  await page.setViewport(SCREENS.desktop);
  await page.goto(address);
  return { browser, page, faults };
}

/** Takes a picture on each screen in each scheme; of what is at a selector, or of the top. */
export async function pictures(page, name, selector) {
  const directory = process.env.PICTURES;
  await mkdir(directory, { recursive: true });
  for (const [screen, size] of Object.entries(SCREENS)) {
    for (const scheme of SCHEMES) {
      await page.setViewport(size);
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      // Charts are drawn again for the size and the scheme.
      await page.evaluate(() => new Promise((resolve) => { requestAnimationFrame(() => requestAnimationFrame(resolve)); }));
      await page.evaluate((wanted) => {
        const found = [...document.querySelectorAll("h2")].find((heading) => heading.textContent === wanted);
        (found ?? document.body).scrollIntoView({ block: "start", behavior: "instant" });
      }, selector ?? null);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert.ok(overflow <= 0, `${name}, ${screen}: ${overflow} pixels are beside the screen`);
      await page.screenshot({ path: path.join(directory, `${name}-${screen}-${scheme}.png`) });
    }
  }
  await page.setViewport(SCREENS.desktop);
}

/** Has axe look at the page, in both schemes and on both screens. */
export async function accessible(page, name) {
  const source = await readFile(require.resolve("axe-core/axe.min.js"), "utf8");
  for (const [screen, size] of Object.entries(SCREENS)) {
    for (const scheme of SCHEMES) {
      await page.setViewport(size);
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      await page.evaluate(source);
      const { violations, passes } = await page.evaluate(() => window.axe.run());
      assert.ok(passes.length > 10, `axe found nothing to look at: ${passes.length}`);
      const serious = violations.filter(({ impact }) => SERIOUS.has(impact));
      const text = serious.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html).join(" ")}`);
      assert.deepEqual(text, [], `axe, ${name}, ${screen}, ${scheme}`);
      const minor = violations.map(({ id, impact }) => `${id} (${impact})`);
      console.log(`axe: ${name}, ${screen}, ${scheme}: ${passes.length} rules pass, ${minor.join(", ") || "no violation"}`);
    }
  }
  await page.setViewport(SCREENS.desktop);
}

/** Returns the figures of the page by name. */
export function figures(page) {
  return page.evaluate(() => Object.fromEntries([...document.querySelectorAll("dl.figures > div")]
    .map((box) => [box.querySelector("dt").textContent, box.querySelector("dd").textContent])));
}

/** Returns the two numbers of "1,234 of 5,678". */
export function pair(text) {
  return text.replaceAll(",", "").split(" of ").map(Number);
}

/** Returns what `s3migrate status` says of the job. */
export async function status() {
  const { stdout } = await run(process.env.STATUS_PROGRAM, ["status", "-o", "json", "--state-dir", process.env.STATE_DIR]);
  const found = JSON.parse(stdout.trim().split("\n")[0]);
  const [done, objects] = found.objects.split("/").map(Number);
  return { ...found, done, objects };
}

/** Waits until a figure is as wanted. */
export async function until(page, what, isWanted) {
  const begun = Date.now();
  for (;;) {
    const found = await figures(page);
    if (isWanted(found)) return found;
    assert.ok(Date.now() - begun < LIMIT, `${what}: ${JSON.stringify(found)}`);
    await page.evaluate(() => new Promise((resolve) => { setTimeout(resolve, 50); }));
  }
}
