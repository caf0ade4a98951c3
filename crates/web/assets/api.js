// Requests, each with the token of this tab. The token is kept by the tab alone, and sent to nobody else.

const KEY = "token";
const SHORTEST_WAIT = 500;
const LONGEST_WAIT = 10_000;
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

/**
 * Follows the events at a path until the signal: calls `onData` with each, and `onLive` with "live" or "lost" when the
 * connection is there or lost, and with "ended" when nothing will change any more. Tries again when it is lost; fails
 * with Refused when the server says no.
 */
export async function follow(path, signal, onData, onLive) {
  let wait = SHORTEST_WAIT;
  const pause = () => new Promise((resolve) => { setTimeout(resolve, wait); });
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
      await pause();
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refused && error.status < 500) throw error;
      onLive("lost");
      await pause();
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
