// Makes elements. Texts become text, never markup; those of others are escaped where they would change what is around.

/** Returns an element with these attributes and children; texts among them become text nodes. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets a text, if it is another one: screen readers and selections are left alone. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const SHORT = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };
const HIDDEN = /[\p{Cc}\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu;

/** Returns a text whose control characters, and those that reorder or hide others, are escaped. */
export function printable(text) {
  return text.replace(HIDDEN, (c) => SHORT[c] ?? `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** Returns a text of others, such as a key, as an element. */
export function raw(text) {
  return el("code", { class: "raw" }, printable(text));
}

const COUNT = new Intl.NumberFormat("en");

/** Returns a number with separators. */
export function count(number) {
  return number === null || number === undefined ? "–" : COUNT.format(number);
}

/** Returns bytes in units of 1,024, as the programs show them. */
export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
  let unit = 0;
  let size = number;
  while (size >= 1024 && unit < units.length - 1) [size, unit] = [size / 1024, unit + 1];
  return unit === 0 ? `${size} B` : `${size.toFixed(1)} ${units[unit]}`;
}

/** Returns a duration in seconds as its two largest units. */
export function duration(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
  const first = parts.findIndex(([unit]) => seconds >= unit);
  if (first < 0) return "0s";
  let rest = seconds;
  return parts.slice(first, first + 2).map(([unit, name]) => {
    const number = Math.floor(rest / unit);
    rest -= number * unit;
    return `${number}${name}`;
  }).join("");
}

/** Returns a time, in milliseconds since 1970, as this browser writes it. */
export function time(millis) {
  return new Date(millis).toLocaleString();
}

const KINDS = { Complete: "good", PartiallyFailed: "warn", Failed: "bad", Interrupted: "warn", Suspended: "warn" };

/** Returns a phase or result as a badge. */
export function phase(name) {
  return el("span", { class: `phase ${KINDS[name] ?? ""}` }, name);
}

/**
 * Returns a table. A column is {title, number, text}; a row is an array of texts or elements. Roles are given, since
 * narrow screens show rows as blocks.
 */
export function table(label, columns, rows = []) {
  const head = columns.map((column) =>
    el("th", { scope: "col", role: "columnheader", class: column.number ? "number" : undefined }, column.title));
  const body = el("tbody", { role: "rowgroup" });
  const element = el("table", { class: "stack", role: "table", "aria-label": label },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...head)), body);
  const cell = (content, place) => el("td", {
    role: "cell",
    class: columns[place].number ? "number" : columns[place].text ? "text" : undefined,
    "data-label": columns[place].title,
  }, el("span", {}, content));
  const focusable = () => [...body.querySelectorAll("a, button")];
  const fill = (all) => {
    // Rows are replaced while somebody may be at one of them.
    const focused = focusable().indexOf(document.activeElement);
    body.replaceChildren(...all.map((cells) => el("tr", { role: "row" }, ...cells.map(cell))));
    if (focused >= 0) focusable()[focused]?.focus({ preventScroll: true });
  };
  fill(rows);
  const scroll = el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `${label}, scrolls` }, element);
  return { element: scroll, fill };
}

/** Returns figures by name: an element, and what sets them. */
export function figures(names) {
  const values = new Map(names.map((name) => [name, el("dd", {}, "–")]));
  const boxes = new Map(names.map((name) => [name, el("div", {}, el("dt", {}, name), values.get(name))]));
  const set = (name, text, isBad = false) => {
    say(values.get(name), text);
    boxes.get(name).classList.toggle("bad", isBad);
  };
  return { element: el("dl", { class: "figures" }, ...boxes.values()), set };
}
