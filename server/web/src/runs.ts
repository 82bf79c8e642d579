// The runs that all views share: those of the list on the left, of which some are drawn.
import { createContext } from "preact";
import { useContext, useMemo, useRef } from "preact/hooks";
import { call, type Query, type Trial, type TrialId, type Value } from "./api";
import { type CompiledQuery, useFetch, useLive } from "./hooks";
import { useDrawLimit, useOrder, useUndrawn } from "./state";
import { colourOf } from "./theme";

export interface Run {
  id: TrialId;
  name: string;
  status: string;
  colour: string;
  /** Seconds since the epoch, or null. */
  created: number | null;
  started: number | null;
  ended: number | null;
  seen: number | null;
}

export interface Runs {
  /** How many runs the query selects. */
  total: number | null;
  /** The first of them, in the order of the table. */
  rows: readonly Run[];
  error: Error | null;
  pending: boolean;
}

/** Attributes that a `Run` is made of, in the order of `runOf`. */
export const RUN_COLUMNS: readonly string[] = [
  "name",
  "uid",
  "status",
  "metadata.colour",
  "created",
  "started",
  "ended",
  "seen",
];

/** A run from its values of RUN_COLUMNS. */
export function runOf(id: TrialId, values: readonly (Value | undefined)[]): Run {
  const [name, uid, status, colour, ...times] = values;
  const [created = null, started = null, ended = null, seen = null] = times.map((time) =>
    typeof time === "number" ? time : null,
  );
  return {
    id,
    name: typeof name === "string" && name !== "" ? name : String(uid ?? id).slice(0, 12),
    status: typeof status === "string" ? status : "",
    colour: colourOf(id, colour),
    created,
    started,
    ended,
    seen,
  };
}

/** A run from its whole document. */
export function runOfTrial({ id, name, uid, status, created, started, ended, metadata }: Trial): Run {
  const seen = metadata.heartbeat ?? null;
  return runOf(id, [name, uid, status.name, metadata.colour ?? null, created, started, ended, seen]);
}

/** The order of runs where nothing else was chosen: the newest first. */
export const DEFAULT_ORDER: readonly string[] = ["-created"];
/** Runs of the list on the left; it asks for more when it is scrolled. */
export const LISTED = 200;
const BEHIND_MS = 200;

export const RunsContext = createContext<Runs>({ total: null, rows: [], error: null, pending: true });

/** The runs of the list on the left. */
export function useRuns(): Runs {
  return useContext(RunsContext);
}

/** The runs to draw: the first of the list, as many as were chosen, without those whose eye is shut. */
export function useDrawn(): readonly Run[] {
  const { rows } = useRuns();
  const [off] = useUndrawn();
  const [limit] = useDrawLimit();
  return useMemo(() => {
    const shut = new Set(off);
    return rows.filter((run) => !shut.has(run.id)).slice(0, limit);
  }, [rows, off, limit]);
}

/** Fetch the runs of the list and follow their changes; the frame does it once. */
export function useFetchedRuns({ query }: CompiledQuery): Runs {
  const [order] = useOrder();
  const [limit] = useDrawLimit();
  const count = Math.max(LISTED, limit);
  const key = query && JSON.stringify([query, order, count]);
  const { data, error, pending, again } = useFetch(key, async (signal) => {
    // The view comes first; it often asks at the same moment.
    await new Promise((resolve) => setTimeout(resolve, BEHIND_MS));
    return call(
      "fetch_table",
      {
        query: query as Query,
        columns: [...RUN_COLUMNS],
        order: [...(order.length > 0 ? order : DEFAULT_ORDER)],
        start: 0,
        limit: count,
      },
      signal,
    );
  });
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useLive(() => {
    // While many runs log, the list is fetched once a second, and not for each of the changes.
    timer.current ??= setTimeout(() => {
      timer.current = null;
      again();
    }, 1_000);
  });
  return useMemo(() => {
    const rows = (data?.ids ?? []).map((id, at) =>
      runOf(id, data?.columns.map((column) => column[at]) ?? []),
    );
    return { total: data?.total ?? null, rows, error, pending };
  }, [data, error, pending]);
}
