// The runs that all views share: those of the list on the left, of which some are drawn.
import { createContext } from "preact";
import { useContext, useMemo, useRef } from "preact/hooks";
import { call, type Query, type Table, type Trial, type TrialId, type Value } from "./api";
import { type CompiledQuery, useFetch, useLive } from "./hooks";
import { writeJson } from "./json";
import { isOrder } from "./pages/runs/columns";
import { useAlsoDrawn, useDrawLimit, useOrder, useUndrawn } from "./state";
import { colourOf, dashesOf } from "./theme";

export interface Run {
  id: TrialId;
  name: string;
  status: string;
  colour: string;
  /** Its line in charts; whole but for those that share a colour. */
  dash: readonly number[];
  /** Its description. */
  note: string;
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
  /** Runs to draw that are not among them. */
  others: readonly Run[];
  error: Error | null;
  pending: boolean;
}

/** Attributes that a `Run` is made of, in the order of `runOf`. */
export const RUN_COLUMNS: readonly string[] = [
  "name",
  "uid",
  "status",
  "metadata.colour",
  "description",
  "created",
  "started",
  "ended",
  "seen",
];

/** A run from its values of RUN_COLUMNS. */
export function runOf(id: TrialId, values: readonly (Value | undefined)[]): Run {
  const [name, uid, status, colour, note, ...times] = values;
  const [created = null, started = null, ended = null, seen = null] = times.map((time) =>
    typeof time === "number" ? time : null,
  );
  return {
    id,
    name: typeof name === "string" && name !== "" ? name : String(uid ?? id).slice(0, 12),
    status: typeof status === "string" ? status : "",
    colour: colourOf(id, colour),
    dash: [],
    note: typeof note === "string" ? note.trim() : "",
    created,
    started,
    ended,
    seen,
  };
}

/** A run from its whole document. */
export function runOfTrial({ id, name, uid, status, description, metadata, ...times }: Trial): Run {
  const { created, started, ended } = times;
  const seen = metadata.heartbeat ?? null;
  const { colour = null } = metadata;
  return runOf(id, [name, uid, status.name, colour, description, created, started, ended, seen]);
}

/** The order of runs where nothing else was chosen: the newest first. */
export const DEFAULT_ORDER: readonly string[] = ["-created"];
/** Runs of the list on the left; it asks for more when it is scrolled. */
export const LISTED = 200;
const BEHIND_MS = 200;

export const RunsContext = createContext<Runs>({
  ...{ total: null, rows: [], others: [], error: null, pending: true },
});

/** The runs of the list on the left. */
export function useRuns(): Runs {
  return useContext(RunsContext);
}

/** The runs to draw: the first of the list, without those whose eye is shut, and those whose eye was opened. */
export function useDrawn(): readonly Run[] {
  const { rows, others } = useRuns();
  const { isDrawn } = useDrawing();
  return useMemo(() => {
    const drawn = [...rows, ...others].filter((run, at) => isDrawn(run.id, at));
    const dashes = dashesOf(drawn);
    return drawn.map((run) => ({ ...run, dash: dashes.get(run.id) ?? [] }));
  }, [rows, others, isDrawn]);
}

export interface Drawing {
  /** Whether a run is drawn that stands at a place in the order of the table. */
  isDrawn: (id: TrialId, at: number) => boolean;
  /** Draw it, or no longer. */
  toggle: (id: TrialId, at: number) => void;
  /** Draw these and no others. */
  drawOnly: (ids: readonly TrialId[]) => void;
}

/** Which runs are drawn, and how to change it. */
export function useDrawing(): Drawing {
  const [off, setOff] = useUndrawn();
  const [on, setOn] = useAlsoDrawn();
  const [limit, setLimit] = useDrawLimit();
  return useMemo(() => {
    const shut = new Set(off);
    const opened = new Set(on);
    const isDrawn = (id: TrialId, at: number) => opened.has(id) || (at < limit && !shut.has(id));
    return {
      isDrawn,
      toggle: (id, at) => {
        const without = (ids: readonly TrialId[]) => ids.filter((one) => one !== id);
        const drawn = isDrawn(id, at);
        setOn(!drawn && at >= limit ? [...on, id] : without(on));
        setOff(drawn && at < limit ? [...off, id] : without(off));
      },
      drawOnly: (ids) => {
        setLimit(0);
        setOff([]);
        setOn(ids);
      },
    };
  }, [off, on, limit, setOff, setOn, setLimit]);
}

/** The runs of an answer with RUN_COLUMNS. */
export function runsOf(table: Pick<Table, "ids" | "columns"> | null): Run[] {
  const { ids = [], columns = [] } = table ?? {};
  return ids.map((id, at) =>
    runOf(
      id,
      columns.map((column) => column[at]),
    ),
  );
}

/** Fetch the runs of the list and follow their changes; the frame does it once. */
export function useFetchedRuns({ query }: CompiledQuery, view: string): Runs {
  const order = useOrder()[0].filter(isOrder);
  const [limit] = useDrawLimit();
  const [on] = useAlsoDrawn();
  const count = Math.max(LISTED, limit);
  const key = query && writeJson([query, order, count, on]);
  const { data, error, pending, again } = useFetch(key, async (signal) => {
    // The view comes first; it often asks at the same moment. Charts wait for the runs that they draw.
    if (view !== "charts") await new Promise((resolve) => setTimeout(resolve, BEHIND_MS));
    const columns = [...RUN_COLUMNS];
    const page = {
      ...{ query: query as Query, columns, start: 0, limit: count },
      order: [...(order.length > 0 ? order : DEFAULT_ORDER)],
    };
    const table = await call("fetch_table", page, signal);
    const listed = new Set(table.ids);
    const trials = on.filter((id) => !listed.has(id));
    const others = trials.length > 0 ? await call("fetch_rows", { trials, columns }, signal) : null;
    return { table, others };
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
    const [rows, others] = [runsOf(data?.table ?? null), runsOf(data?.others ?? null)];
    return { total: data?.table.total ?? null, rows, others, error, pending };
  }, [data, error, pending]);
}
