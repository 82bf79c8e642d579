// The state of the page is its address: what is seen can be sent to somebody else, and Back works.
//
//   /runs?project=UID&filter=lr < 0.1&order=-metrics.loss.min
//
// The first part of the path names the view. Each parameter has a codec; a parameter with its default value is not
// written. Everything stays in the address when the view changes, so a chart's zoom is there again after a look at the
// table. A page adds parameters of its own with `useParam`.
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { BASE, EMBEDDED } from "./api";
import { parseJson, writeJson } from "./json";

export const VIEWS = ["home", "runs", "charts", "run", "compare", "parallel", "media", "graph"] as const;
export type View = (typeof VIEWS)[number];

/** How a parameter is written in the address. */
export interface Codec<T> {
  /** The value of a text as it stands in the address (still escaped), or of null where there is none. */
  read(raw: string | null): T;
  /** The text for the address; null leaves the parameter out. */
  write(value: T): string | null;
}

/** Escape what has a meaning in an address, and no more: filters stay readable. */
export function escapeText(text: string): string {
  return encodeURIComponent(text).replace(/%(?:20|2C|2F|3A|3C|3D|3E|40|7B|7D|22|5B|5D|7E)/gi, (code) => {
    const char = decodeURIComponent(code);
    return char === " " ? "+" : char;
  });
}

function unescapeText(raw: string): string {
  try {
    return decodeURIComponent(raw.replace(/\+/g, " "));
  } catch {
    return raw;
  }
}

export const text = (fallback = ""): Codec<string> => ({
  read: (raw) => (raw === null ? fallback : unescapeText(raw)),
  write: (value) => (value === fallback ? null : escapeText(value)),
});

export const optional: Codec<string | null> = {
  read: (raw) => (raw === null || raw === "" ? null : unescapeText(raw)),
  write: (value) => (value === null || value === "" ? null : escapeText(value)),
};

export const number = (fallback: number): Codec<number> => ({
  read: (raw) => {
    const value = raw === null || raw === "" ? Number.NaN : Number(raw);
    return Number.isFinite(value) ? value : fallback;
  },
  write: (value) => (value === fallback ? null : String(value)),
});

export const flag: Codec<boolean> = {
  read: (raw) => raw === "1",
  write: (value) => (value ? "1" : null),
};

export const choice = <T extends string>(choices: readonly T[], fallback: T): Codec<T> => ({
  read: (raw) => choices.find((one) => one === raw) ?? fallback,
  write: (value) => (value === fallback ? null : value),
});

/** Texts, separated by commas; none of them is empty. */
export const list: Codec<readonly string[]> = {
  read: (raw) => (raw ?? "").split(",").filter(Boolean).map(unescapeText),
  write: (value) =>
    value.length === 0 ? null : value.map((item) => escapeText(item).replace(/,/g, "%2C")).join(","),
};

/** A list that may be left to the page's default, which is null. */
export const optionalList: Codec<readonly string[] | null> = {
  read: (raw) => (raw === null ? null : list.read(raw)),
  write: (value) => (value === null ? null : (list.write(value) ?? "")),
};

/** Named things, as JSON; use it for few and small ones only. What `readItem` answers null for is left out. */
export const json = <T>(readItem: (value: unknown) => T | null): Codec<{ [name: string]: T }> => ({
  read: (raw) => {
    let found: unknown;
    try {
      found = parseJson(unescapeText(raw ?? ""));
    } catch {
      return {};
    }
    return Object.fromEntries(
      Object.entries(fieldsOf(found)).flatMap(([name, value]) => {
        const item = readItem(value);
        return item === null ? [] : [[name, item]];
      }),
    );
  },
  write: (value) => (Object.keys(value).length === 0 ? null : escapeText(writeJson(value))),
});

/** What an object of unknown origin holds; nothing if it is none. */
export function fieldsOf(value: unknown): { [name: string]: unknown } {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? { ...value } : {};
}

export interface Location {
  view: View;
  /** Parameters as they stand in the address, escaped. */
  params: ReadonlyMap<string, string>;
}

/** The database, where the service has several: it stays in every address. */
export const DATABASE = "db";

/** In a frame the view is a parameter: only this one path may be framed. */
const FRAME = "embed";
const VIEW = "view";

/** The view and the parameters of an address. */
export function parseLocation(path: string, search: string): Location {
  const first = path.replace(/^\/+/, "").split("/")[0] ?? "";
  const params = new Map<string, string>();
  for (const part of search.replace(/^\?/, "").split("&")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    if (equals < 0) params.set(part, "");
    else params.set(part.slice(0, equals), part.slice(equals + 1));
  }
  const named = first === FRAME ? params.get(VIEW) : first;
  if (first === FRAME) params.delete(VIEW);
  return { view: VIEWS.find((one) => one === named) ?? "home", params };
}

/** The address of a view with parameters, below the board's own folder. */
export function formatLocation({ view, params }: Location, embedded = EMBEDDED): string {
  const named: [string, string][] = embedded && view !== "home" ? [[VIEW, view]] : [];
  const query = [...named, ...params].map(([name, value]) => `${name}=${value}`).join("&");
  const path = embedded ? FRAME : view === "home" ? "" : view;
  return path + (query === "" ? "" : `?${query}`);
}

/** Values longer than this are kept in the browser, under a short name that stands in the address instead. */
const LONGEST = 4_000;
const MOST_KEPT = 8;
const KEPT = "track.kept";
const NAME = /^~[0-9a-z]+$/;
/** Names of values of this page: hundreds of links may hold one of them. */
const names = new Map<string, string>();

function nameOf(value: string): string {
  const known = names.get(value);
  if (known !== undefined) return known;
  const name = `~${hashOf(value, 0).toString(36)}${hashOf(value, 1).toString(36)}`;
  keep(name, value);
  names.set(value, name);
  for (const [old] of [...names].slice(0, -MOST_KEPT)) names.delete(old);
  return name;
}

/** Store a value; the oldest make room for it. */
function keep(name: string, value: string): void {
  const others = (localStorage.getItem(KEPT) ?? "")
    .split(" ")
    .filter((other) => other !== "" && other !== name);
  for (const old of others.splice(MOST_KEPT - 1)) localStorage.removeItem(KEPT + old);
  for (;;) {
    try {
      localStorage.setItem(KEPT + name, value);
      localStorage.setItem(KEPT, [name, ...others].join(" "));
      return;
    } catch {
      const old = others.pop();
      // A browser that stores nothing: the address works while the page is open.
      if (old === undefined) return;
      localStorage.removeItem(KEPT + old);
    }
  }
}

function hashOf(text: string, seed: number): number {
  let hash = 2166136261 ^ seed;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 16777619);
  return hash >>> 0;
}

function expand({ view, params }: Location): Location {
  const found = [...params].map(([param, value]): [string, string] => [
    param,
    NAME.test(value) ? (localStorage.getItem(KEPT + value) ?? value) : value,
  ]);
  return { view, params: new Map(found) };
}

function shorten({ view, params }: Location): string {
  const short = [...params].map(([param, value]): [string, string] => [
    param,
    value.length > LONGEST ? nameOf(value) : value,
  ]);
  return formatLocation({ view, params: new Map(short) });
}

/**
 * A link for others: all of the state, also what this browser keeps under a name. What is long stands behind "#", which no
 * server gets and limits.
 */
export function wholeAddress(location: Location): string {
  const whole = formatLocation(location);
  return whole.length > LONGEST ? whole.replace("?", "#?") : whole;
}

/** The view and the parameters of the parts of an address. */
export function readAddress(path: string, search: string, hash: string): Location {
  return expand(parseLocation(path, hash.startsWith("#?") ? hash.slice(1) : search));
}

const inBrowser = typeof window !== "undefined";

function here(): Location {
  const folder = new URL(BASE).pathname;
  const { pathname, search, hash } = window.location;
  return readAddress(pathname.startsWith(folder) ? pathname.slice(folder.length) : pathname, search, hash);
}

let current: Location = inBrowser ? here() : { view: "home", params: new Map() };
const listeners = new Set<() => void>();

function changed(location: Location): void {
  current = location;
  for (const listener of [...listeners]) listener();
}

if (inBrowser) window.addEventListener("popstate", () => changed(here()));

export function getLocation(): Location {
  return current;
}

/** What to change: parameters to set (escaped), or to leave out (null). */
export type Patch = Record<string, string | null>;

function patched(view: View, patch: Patch, from: Location): Location {
  const params = new Map(from.params);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) params.delete(name);
    else params.set(name, value);
  }
  return { view, params };
}

/** The address of a view with changed parameters, for a link. */
export function hrefTo(view: View, patch: Patch = {}): string {
  return BASE + shorten(patched(view, patch, current));
}

/** Go to a view; `replace` makes no new entry of the history. */
export function go(view: View, patch: Patch = {}, replace = false): void {
  const next = patched(view, patch, current);
  if (formatLocation(next) === formatLocation(current)) return;
  history[replace ? "replaceState" : "pushState"](null, "", BASE + shorten(next));
  changed(next);
}

/** Change parameters of the present view. */
export function setParams(patch: Patch, replace = true): void {
  go(current.view, patch, replace);
}

/** Follow the address. */
export function useLocation(): Location {
  const [location, setLocation] = useState(current);
  useEffect(() => {
    const listener = () => setLocation(current);
    listener();
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }, []);
  return location;
}

/**
 * One parameter of the address and how to set it. Setting it replaces the entry of the history, as for a zoom or a
 * slider, unless `push` is given, as for a filter that Back should take away.
 */
export function useParam<T>(name: string, codec: Codec<T>, push = false): [T, (value: T) => void] {
  const raw = useLocation().params.get(name) ?? null;
  // biome-ignore lint/correctness/useExhaustiveDependencies: a codec is a constant, or made again for each rendering
  const value = useMemo(() => codec.read(raw), [raw]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: as above
  const set = useCallback((next: T) => setParams({ [name]: codec.write(next) }, !push), [name, push]);
  return [value, set];
}

// Parameters that all views share.
export const useProject = () => useParam("project", optional, true);
export const useFilter = () => useParam("filter", text(), true);
/** Columns of the table; null is the default: what differs. */
export const useColumns = () => useParam("columns", optionalList);
/** Order of the runs, in the notation of queries: a leading "-" is descending. */
export const useOrder = () => useParam("order", list);
/** Selected runs. */
export const useSelection = () => useParam("sel", list);
/** Runs that are not drawn (the eye). */
export const useUndrawn = () => useParam("off", list);
/** Runs that are drawn though they are not among the first. */
export const useAlsoDrawn = () => useParam("on", list);
/** How many runs are drawn without being asked for: the first ones in the order of the table. */
export const useDrawLimit = () => useParam("draw", number(20));
/** The run that the page `run` shows, and others that show a single one. */
export const useTrial = () => useParam("trial", optional, true);
/** Whether runs that were hidden are listed, too. */
export const useShowHidden = () => useParam("hidden", flag);
/** Smoothing of curves, the weight of the past from 0 to 0.999. */
export const useSmoothing = () => useParam("smooth", number(0));
/** What x is in charts. */
export const useAxis = () =>
  useParam<"step" | "time" | "relative" | "ordinal">(
    "x",
    choice(["step", "time", "relative", "ordinal"] as const, "step"),
  );
