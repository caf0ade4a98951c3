// Counts failures by class, page by page: what is kept are the sums, however many failures there are.

import { insist, pause } from "./api.js";

/** A count that is out of date is made again after this multiple of the time that it took. */
const REST = 4;

/**
 * Counts the failures of a run, and returns {run, classes, read, unreadable}. `read(run, after, signal)` reads a page.
 * Calls `onPart` with what was counted after each page but the last, and with the reason while a page can't be read.
 */
export async function countAll(run, read, signal, onPart) {
  const sums = { run, classes: new Map(), read: 0, unreadable: 0 };
  let after = null;
  do {
    const place = after;
    const page = await insist(() => read(run, place, signal), signal, (why) => onPart(sums, why));
    for (const [name, found] of Object.entries(page.classes)) {
      const { objects, bytes, example } = sums.classes.get(name) ?? { objects: 0, bytes: 0, example: found.example };
      sums.classes.set(name, { objects: objects + found.objects, bytes: bytes + found.bytes, example });
    }
    sums.read += page.read;
    sums.unreadable += page.unreadable;
    after = page.next;
    if (after !== null) onPart(sums, "");
  } while (after !== null);
  return sums;
}

/**
 * Returns what counts the failures of one run at a time, and calls `show(sums, {isWhole, isOver, why})`: with parts as
 * long as there is no whole count of this run, and with each whole count. `why` is the reason of a wait, or of an end
 * before the count was whole.
 */
export function counter(read, signal, show) {
  /** The count that goes on, with what it has so far. */
  let current = null;
  /** The run of the last whole count. */
  let whole = null;

  const part = (mine, sums, why, isOver) => {
    mine.sums = sums;
    if (whole !== mine.run && sums) show(sums, { isWhole: false, isOver, why });
  };

  async function repeat(mine, of) {
    for (;;) {
      mine.isStale = false;
      const begun = Date.now();
      const sums = await countAll(mine.run, read, of, (some, why) => part(mine, some, why, false));
      if (of.aborted) return;
      whole = mine.run;
      show(sums, { isWhole: true, isOver: true, why: "" });
      if (!mine.isStale) return;
      await pause(REST * (Date.now() - begun), of);
    }
  }

  function stop() {
    const stopped = current;
    stopped?.controller.abort();
    current = null;
    return stopped;
  }

  return {
    /** Counts a run; again after the count of it that goes on, so that pages of two counts are never added up. */
    async count(run) {
      if (current?.run === run) {
        current.isStale = true;
        return;
      }
      stop();
      const mine = { run, sums: null, isStale: false, controller: new AbortController() };
      current = mine;
      const of = AbortSignal.any([signal, mine.controller.signal]);
      try {
        await repeat(mine, of);
      } catch (error) {
        if (!of.aborted) part(mine, mine.sums, error.message, true);
      } finally {
        if (current === mine) current = null;
      }
    },
    /** Drops the count that goes on, and the last one: the next one begins anew. */
    drop() {
      stop();
      whole = null;
    },
    /** Ends, since nothing can be read any more for this reason. */
    end(why) {
      const stopped = stop();
      if (stopped) part(stopped, stopped.sums, why, true);
    },
  };
}

/**
 * Returns what is said of a count. `number` writes numbers; `known` is how many failures the job itself knows of this
 * run, which may be more when some were added after the count.
 */
export function described(sums, { isWhole, isOver, why }, known, number) {
  const unreadable = sums.unreadable > 0 ? `; ${number(sums.unreadable)} more records can't be read` : "";
  const found = `${number(sums.read)} failures in this run${unreadable}`;
  if (isWhole) return sums.read + sums.unreadable < known ? `At least ${found}: more came after the count.` : `${found}.`;
  if (isOver) return `At least ${found}: the count ended before it was whole (${why}).`;
  return why ? `At least ${found}: the count waits (${why}) and goes on.` : `At least ${found}: counting …`;
}
