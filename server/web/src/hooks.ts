// What pages share: fetching with the present query, following changes, the session.
import { createContext } from "preact";
import { useCallback, useContext, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { ApiError, compileFilter, type Query, type Session } from "./api";
import { writeJson } from "./json";
import { type Change, type LiveStatus, live } from "./live";
import { useFilter, useProject, useShowHidden } from "./state";

export const SessionContext = createContext<Session | null>(null);

/** Who is logged in. */
export function useSession(): Session {
  const session = useContext(SessionContext);
  if (session === null) throw new Error("no session above this component");
  return session;
}

/** Whether the user may write: a control that he may not use is not shown. */
export function useMayWrite(): boolean {
  const { role } = useSession();
  return role === "writer" || role === "admin";
}

export interface Fetched<T> {
  /** The last good answer, which stays while the next one is on its way, and when it fails. */
  data: T | null;
  error: Error | null;
  pending: boolean;
  /** Fetch again. */
  again: () => void;
}

/**
 * Fetch when `key` changes. `key` is all that the answer depends on, as text; null fetches nothing. Of several
 * requests in flight only the last one counts, and the others are cancelled.
 */
export function useFetch<T>(key: string | null, get: (signal: AbortSignal) => Promise<T>): Fetched<T> {
  const [round, setRound] = useState(0);
  const [state, setState] = useState<{ data: T | null; error: Error | null; pending: boolean }>({
    data: null,
    error: null,
    pending: key !== null,
  });
  const latest = useRef(get);
  latest.current = get;
  // biome-ignore lint/correctness/useExhaustiveDependencies: `round` asks again
  useEffect(() => {
    if (key === null) return;
    const abort = new AbortController();
    setState((before) => ({ ...before, pending: true }));
    latest.current(abort.signal).then(
      (data) => {
        if (!abort.signal.aborted) setState({ data, error: null, pending: false });
      },
      (error: Error) => {
        if (!abort.signal.aborted) setState((before) => ({ ...before, error, pending: false }));
      },
    );
    return () => abort.abort();
  }, [key, round]);
  const again = useCallback(() => setRound((before) => before + 1), []);
  return { ...state, again };
}

/** Have `listener` called with what has changed in the store while the page is seen. */
export function useLive(listener: (change: Change) => void): void {
  const latest = useRef(listener);
  latest.current = listener;
  useEffect(() => live.subscribe((change) => latest.current(change)), []);
}

/** The state of the connection. */
export function useLiveStatus(): LiveStatus {
  const [status, setStatus] = useState(live.status());
  useEffect(() => live.watch(() => setStatus(live.status())), []);
  return status;
}

/** The time in seconds since the epoch, again every `everyS` seconds: for ages. */
export function useNow(everyS = 1): number {
  const [now, setNow] = useState(() => Date.now() / 1000);
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) setNow(Date.now() / 1000);
    }, everyS * 1000);
    return () => clearInterval(timer);
  }, [everyS]);
  return now;
}

export interface CompiledQuery {
  /** Of the project and the filter; the last good one while a new filter is wrong. Null before the first. */
  query: Query | null;
  /** What is wrong with the filter, and where. */
  fault: ApiError | null;
  error: Error | null;
}

/** Runs that were hidden have this in their metadata. */
export const NOT_HIDDEN: Query = { "metadata.hidden": { $ne: true } };

/** Both conditions together. */
export function both(one: Query, other: Query): Query {
  if (Object.keys(one).length === 0) return other;
  return Object.keys(other).length === 0 ? one : { $and: [one, other] };
}

export const QueryContext = createContext<CompiledQuery>({ query: null, fault: null, error: null });

/** The query of all that the views of this project show; the frame compiles it once. */
export function useQuery(): CompiledQuery {
  return useContext(QueryContext);
}

/** Compile the project and the filter of the address. */
export function useCompiledQuery(): CompiledQuery {
  const [project] = useProject();
  const [filter] = useFilter();
  const [showHidden] = useShowHidden();
  const { data, error } = useFetch(writeJson([project, filter]), (signal) =>
    compileFilter(filter, project, signal),
  );
  return useMemo(() => {
    const fault = error instanceof ApiError && error.status === 400 ? error : null;
    const query = data && (showHidden ? data : both(data, NOT_HIDDEN));
    return { query, fault, error: fault === null ? error : null };
  }, [data, error, showHidden]);
}
