// Requests, each with the token of this tab. The token is kept by the tab alone, and sent to nobody else.

const KEY = "token";
const SHORTEST_WAIT = 500;
const LONGEST_WAIT = 10_000;
/** Longest wait before a request is repeated that makes the server read a ledger, in milliseconds. */
const LONGEST_REPEAT = 60_000;
/** Milliseconds without a byte after which a stream is lost: the server sends something every 15 s. */
const LONGEST_SILENCE = 40_000;

/** Returns the token; none if there is none. */
export function token() {
  return sessionStorage.getItem(KEY);
}

/** Keeps a token; none forgets it. */
export function keepToken(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

/** An answer that says no. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Returns the path of a job, with what follows it. */
export function pathOf(job, rest = "") {
  return `namespaces/${encodeURIComponent(job.namespace)}/jobs/${encodeURIComponent(job.name)}${rest}`;
}

/** Returns a query of those parameters that have a value. */
export function query(parameters) {
  const set = Object.entries(parameters).filter(([, value]) => value);
  return set.length === 0 ? "" : `?${new URLSearchParams(set)}`;
}

/** Sends a request, and returns the response. Fails with Refused if it is no success. */
export async function request(path, signal) {
  const headers = token() ? { Authorization: `Bearer ${token()}` } : {};
  const response = await fetch(`api/v1/${path}`, { headers, signal, cache: "no-store", credentials: "omit" });
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  throw new Refused(response.status, answer.error ?? `the server answered ${response.status}`);
}

/** Returns the JSON at a path. */
export async function get(path, signal) {
  return (await request(path, signal)).json();
}

/** Returns true for what may be otherwise in a moment: no connection, or a server that can't answer now. */
export function isPassing(error) {
  return !(error instanceof Refused) || error.status >= 500 || error.status === 429;
}

/** Waits some milliseconds, or until the signal. */
export function pause(millis, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const end = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, millis);
    signal.addEventListener("abort", end);
  });
}

/**
 * Returns what `action` returns; tries again, ever more rarely, while it fails for a reason that passes, and calls
 * `onWait` with the reason each time. Fails with any other error, such as a Refused that says that this may not be seen.
 */
export async function insist(action, signal, onWait) {
  for (let wait = SHORTEST_WAIT; ; wait = Math.min(2 * wait, LONGEST_REPEAT)) {
    try {
      return await action();
    } catch (error) {
      if (signal.aborted || !isPassing(error)) throw error;
      onWait(error.message);
      await pause(wait, signal);
    }
  }
}

/**
 * Follows the events at a path until the signal: calls `onData` with each, and `onLive` with "live" or "lost" when the
 * connection is there or lost, and with "ended" when nothing will change any more; with "lost" comes what the server
 * says, if it does. Each connection begins with all that there is. Tries again, ever more rarely, when it is lost; fails
 * with Refused when the server says no.
 */
export async function follow(path, signal, onData, onLive) {
  let wait = SHORTEST_WAIT;
  while (!signal.aborted) {
    const dead = new AbortController();
    let timer = 0;
    const heard = () => {
      clearTimeout(timer);
      timer = setTimeout(() => dead.abort(), LONGEST_SILENCE);
    };
    try {
      heard();
      const response = await request(path, AbortSignal.any([signal, dead.signal]));
      onLive("live");
      let isOver = false;
      await read(response.body, heard, (event, data) => {
        wait = SHORTEST_WAIT;
        isOver = event === "end";
        if (isOver) return;
        if (event === "gone") throw new Refused(404, "this job does not exist any more");
        onData(JSON.parse(data));
      });
      if (isOver) {
        onLive("ended");
        return;
      }
      // A stream ends after some minutes, so that the server decides again who may read.
      await pause(wait, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!isPassing(error)) throw error;
      onLive("lost", error instanceof Refused ? error.message : "");
      await pause(wait, signal);
      wait = Math.min(2 * wait, LONGEST_WAIT);
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Reads server-sent events, and calls `onBytes` with each part of them. EventSource can't send a token. */
async function read(body, onBytes, onEvent) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    onBytes();
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const field = (name) => lines.filter((line) => line.startsWith(name)).map((line) => line.slice(name.length)).join("\n");
      const data = field("data: ");
      if (data) onEvent(field("event: ") || "message", data);
    }
  }
}
