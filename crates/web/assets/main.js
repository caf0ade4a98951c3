// The page: which part of it is shown, by the part of the address after #.

import { Refused, keepToken, token } from "./api.js";
import { el, printable, say } from "./dom.js";
import { showJob } from "./job.js";
import { showList } from "./list.js";

const main = document.getElementById("main");
const connection = document.getElementById("connection");
let shown = new AbortController();

const STATES = {
  live: "Live",
  lost: "Connection lost: numbers are from before. Trying again.",
  ended: "s3migrate has ended: this is its last state. s3migrate ui shows it again.",
};

/** Says whether numbers are live; why not, if the server says so. */
function live(state, why) {
  say(connection, why ? `The server can't answer now (${why}). Trying again.` : STATES[state]);
}

/** Returns the job that an address names; none for the list. */
function jobOf(hash) {
  const parts = hash.split("/").map(decodeURIComponent);
  return parts[1] === "jobs" && parts.length === 4 ? { namespace: parts[2], name: parts[3] } : null;
}

async function show() {
  if (location.hash === "#main") return;
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  say(connection, "");
  const job = jobOf(location.hash);
  document.title = job ? `${job.name} – S3 migrations` : "S3 migrations";
  try {
    if (!token()) signIn("");
    else if (job) await showJob(main, job, signal, live);
    else await showList(main, signal, live);
  } catch (error) {
    if (signal.aborted) return;
    say(connection, "");
    if (error instanceof Refused && error.status === 401) {
      keepToken(null);
      signIn("The token is not valid, or not any more.");
    } else {
      refuse(error);
    }
  }
}

/** Shows why there is nothing to see. Nothing is asked for again until somebody does something. */
function refuse({ status, message }) {
  main.replaceChildren(
    el("h1", {}, status === 403 ? "Not allowed" : "Not available"),
    el("p", { class: "note bad", role: "alert" }, printable(message)),
    el("p", {}, el("a", { href: "#/" }, "All jobs")),
    el("p", {}, el("button", { type: "button", onclick: () => { keepToken(null); show(); } }, "Use another token")),
  );
}

/** Asks for a token. */
function signIn(message) {
  const input = el("input", { type: "password", autocomplete: "off", required: true, size: 40 });
  const submit = (event) => {
    event.preventDefault();
    keepToken(input.value.trim());
    show();
  };
  main.replaceChildren(
    el("h1", {}, "A token is needed"),
    ...(message ? [el("p", { class: "note bad", role: "alert" }, message)] : []),
    el("p", {}, "On a cluster: ", el("code", {}, "kubectl create token SERVICE_ACCOUNT"),
      " of an account that may get migrationjobs. On one machine: the address that s3migrate printed."),
    el("form", { onsubmit: submit }, el("label", {}, "Token", input), el("button", {}, "Show the jobs")),
  );
  input.focus();
}

/** Takes the token out of the address, where history and pictures of the screen would keep it. */
function takeToken() {
  const match = /^#token=([A-Za-z0-9_.~-]+)$/.exec(location.hash);
  if (!match) return;
  keepToken(match[1]);
  history.replaceState(null, "", "#/");
}

addEventListener("hashchange", () => { takeToken(); show(); });
takeToken();
show();
