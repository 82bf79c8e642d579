// Columns of series for charts, kept up to date: after a change only the newest points are fetched.
import { useEffect, useRef, useState } from "preact/hooks";
import {
  type Axis,
  type Columns,
  callBinary,
  type Damaged,
  type GroupedColumns,
  isWhole,
  type Query,
  type SeriesKey,
  type SeriesKind,
  type Tail,
} from "../api";
import { useFetch, useLive } from "../hooks";
import { writeJson } from "../json";
import { withTail } from "./curve";
import type { Range } from "./scale";

export type Series = Columns | Damaged | null;

export interface Fetched {
  /** One for each key; null before the first answer. */
  series: readonly Series[] | null;
  /** The keys to which they belong. */
  keys: readonly SeriesKey[];
  error: Error | null;
  pending: boolean;
  again: () => void;
}

/** Columns of one series in a large chart, so that each is about two pixels; smaller charts have half as many. */
export const WIDTH = 400;
/** When this many points came one by one, the server cuts the window anew. */
const GROWN = 2 * WIDTH;
/** What one request may ask for. */
const MOST_SERIES = 1_000;
const MOST_COLUMNS = 262_144;
const BATCH_MS = 40;
const TAIL_POINTS = 2_000;
const PAUSE_MS = 700;

/**
 * The columns of some series in a window, while `keys` is not null: null keeps what is there and fetches nothing, for
 * what is out of sight.
 */
export function useSeries(
  keys: readonly SeriesKey[] | null,
  axis: Axis,
  zoom: Range | null,
  width: number = WIDTH,
): Fetched {
  const request = keys === null || keys.length === 0 ? null : writeJson([keys, axis, zoom, width]);
  const { data, error, pending, again } = useFetch(request, async (signal) => {
    const series = [...(keys ?? [])];
    const window = zoom === null ? {} : { low: zoom.low, high: zoom.high };
    const batch = Math.min(MOST_SERIES, Math.floor(MOST_COLUMNS / width));
    const found: Series[] = [];
    for (let at = 0; at < series.length; at += batch) {
      const some = series.slice(at, at + batch);
      found.push(...(await callBinary("fetch_columns", { series: some, axis, ...window, width }, signal)));
    }
    return { keys: series, found };
  });
  // What came since `data`, added to it.
  const [grown, setGrown] = useState<{ of: unknown; series: Series[] } | null>(null);
  const present = grown !== null && grown.of === data ? grown.series : (data?.found ?? null);
  const now = useRef({ present, data, request, axis });
  now.current = { present, data, request, axis };
  const waiting = useRef(new Set<string>());
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  const missed = useRef(false);

  const follow = async () => {
    timer.current = null;
    const { present, data, request, axis } = now.current;
    const changed = new Set(waiting.current);
    waiting.current.clear();
    if (request === null) {
      missed.current = true;
      return;
    }
    if (present === null || data === null) return;
    const places = data.keys.flatMap(([trial], at) => (changed.has(trial) ? [at] : []));
    const wanted = places.filter((at) => isWhole(present[at] ?? null));
    // A series that was not there may be there now.
    if (wanted.length < places.length) return again();
    try {
      const tails = await Promise.all(
        wanted.map((at) => fetchTail(data.keys[at] as SeriesKey, (present[at] as Columns).total)),
      );
      if (now.current.data !== data) return;
      const next = [...present];
      for (const [order, at] of wanted.entries()) {
        const tail = tails[order] ?? null;
        const before = present[at] as Columns;
        const after = isWhole(tail) ? withTail(before, tail, before.axis ?? axis) : null;
        if (after === null || after.x.length > GROWN) return again();
        next[at] = after;
      }
      setGrown({ of: data, series: next });
    } catch {
      // The connection is shown at the top of the page, and its return brings a reset.
    }
  };
  useLive((change) => {
    const { data } = now.current;
    if (change.reset) again();
    else if (data?.keys.some(([trial]) => change.trials.has(trial)) ?? false) {
      for (const trial of change.trials) waiting.current.add(trial);
      timer.current ??= setTimeout(follow, PAUSE_MS);
    }
  });
  useEffect(() => () => clearTimeout(timer.current ?? undefined), []);
  useEffect(() => {
    if (request !== null && missed.current) {
      missed.current = false;
      again();
    }
  }, [request, again]);
  return { series: present, keys: data?.keys ?? [], error, pending, again };
}

/** What groups of runs are asked for: series of some names, one after the other. */
export interface Groups {
  query: Query;
  by: string;
  total: number;
  kind: SeriesKind;
  names: readonly string[];
  axis: Axis;
  zoom: Range | null;
}

export interface FetchedGroups {
  /** For each name its groups; null before the first answer. */
  groups: readonly (readonly (GroupedColumns | Damaged)[])[] | null;
  error: Error | null;
  pending: boolean;
  again: () => void;
}

/** Columns of all series of one request, and of each one where these are few. */
const MOST_GROUPED = 2_097_152;
const GROUPED_WIDTH = 300;
const FEWEST_COLUMNS = 20;
/** Groups of one chart; the largest ones. */
export const MOST_GROUPS = 100;
const GROUPS_MS = 3_000;
/** They are fetched again after this many times as long as it took. */
const GROUPS_REST = 20;

/** The groups of some runs, fetched while `wanted` is not null, and again now and then while runs log. */
export function useGroups(wanted: Groups | null): FetchedGroups {
  const took = useRef(0);
  const request = wanted && writeJson(wanted);
  const { data, error, pending, again } = useFetch(request, async (signal) => {
    const { query, by, total, kind, names, axis, zoom } = wanted as Groups;
    const fitting = Math.floor(MOST_GROUPED / Math.max(1, total));
    const page = { query, by: [by], kind, axis, limit: MOST_GROUPS, ...(zoom ?? {}) };
    const width = Math.max(FEWEST_COLUMNS, Math.min(GROUPED_WIDTH, fitting));
    const began = performance.now();
    const found = await Promise.all(
      names.map((name) => callBinary("fetch_grouped_columns", { ...page, name, width }, signal)),
    );
    took.current = performance.now() - began;
    return found;
  });
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useLive((change) => {
    if (change.reset) again();
    else
      timer.current ??= setTimeout(
        () => {
          timer.current = null;
          again();
        },
        Math.max(GROUPS_MS, GROUPS_REST * took.current),
      );
  });
  useEffect(() => () => clearTimeout(timer.current ?? undefined), []);
  return { groups: data, error, pending, again };
}

type Wanted = {
  key: SeriesKey;
  start: number;
  done: (tail: Tail | Damaged | null) => void;
  failed: (error: Error) => void;
};
let queue: Wanted[] = [];

/** The points of a series from an ordinal on; what all charts want at one moment is one request. */
function fetchTail(key: SeriesKey, start: number): Promise<Tail | Damaged | null> {
  return new Promise((done, failed) => {
    if (queue.length === 0) setTimeout(sendTails, BATCH_MS);
    queue.push({ key, start, done, failed });
  });
}

function sendTails(): void {
  const wanted = queue;
  queue = [];
  for (let at = 0; at < wanted.length; at += 1_000) {
    const some = wanted.slice(at, at + 1_000);
    const tails = some.map(({ key, start }): [...SeriesKey, number] => [...key, start]);
    callBinary("fetch_tails", { tails, limit: TAIL_POINTS }).then(
      (found) => {
        for (const [order, one] of some.entries()) one.done(found[order] ?? null);
      },
      (error: Error) => {
        for (const one of some) one.failed(error);
      },
    );
  }
}
