// The rows of the table: fetched in pages as they come into sight, and followed while they are there.
import { useEffect, useReducer, useRef } from "preact/hooks";
import { call, type Query, type TrialId, type Value } from "../../api";
import { both, useLive } from "../../hooks";
import { writeJson } from "../../json";
import { RUN_COLUMNS, type Run, runOf } from "../../runs";

export const PAGE = 100;
/** Between two looks at what has changed. */
const REFRESH_MS = 500;

export interface Row {
  run: Run;
  values: readonly Value[];
}

/** What is asked for: one list of runs. */
export interface Wanted {
  query: Query;
  columns: readonly string[];
  order: readonly string[];
}

/** The pages of one list that were fetched so far. */
class Rows {
  total: number | null = null;
  error: Error | null = null;
  /** A value by which the list is ordered has changed since it was fetched. */
  outOfOrder = false;
  readonly names: readonly string[];
  readonly index: ReadonlyMap<string, number>;
  private pages = new Map<number, Row[]>();
  private dirty = new Set<number>();
  private asked = new Map<number, AbortController>();
  private work: Promise<void> = Promise.resolve();

  constructor(
    readonly wanted: Wanted,
    private readonly changed: () => void,
  ) {
    const sorted = wanted.order.map((name) => name.replace(/^-/, "")).filter((name) => name !== "id");
    this.names = [...new Set([...RUN_COLUMNS, ...wanted.columns, ...sorted])];
    this.index = new Map(this.names.map((name, at) => [name, at]));
  }

  row(at: number): Row | undefined {
    return this.pages.get(Math.floor(at / PAGE))?.[at % PAGE];
  }

  /** Where a run is, if it was fetched. */
  find(id: TrialId): number | null {
    for (const [page, rows] of this.pages) {
      const at = rows.findIndex((row) => row.run.id === id);
      if (at >= 0) return page * PAGE + at;
    }
    return null;
  }

  /** See to it that the rows from `first` to `last` are there. */
  ensure(first: number, last: number): void {
    const from = Math.max(0, Math.floor(first / PAGE));
    const to = Math.max(from, Math.floor(last / PAGE));
    for (const [page, abort] of this.asked) {
      // Scrolled past before it came.
      if (page < from - 1 || page > to + 1) abort.abort();
    }
    for (let page = from; page <= to; page++) {
      if (this.asked.has(page) || (this.pages.has(page) && !this.dirty.has(page))) continue;
      void this.fetch(page);
    }
  }

  private async fetch(page: number): Promise<void> {
    const abort = new AbortController();
    this.asked.set(page, abort);
    try {
      const { query, order } = this.wanted;
      const args = {
        query,
        columns: [...this.names],
        order: [...order],
        start: page * PAGE,
        limit: PAGE,
      };
      const table = await call("fetch_table", args, abort.signal);
      this.pages.set(page, this.rowsOf(table.ids, table.columns));
      this.dirty.delete(page);
      this.total = table.total;
      this.error = null;
    } catch (error) {
      if (abort.signal.aborted) return;
      this.error = error as Error;
    } finally {
      this.asked.delete(page);
    }
    this.changed();
  }

  private rowsOf(ids: readonly TrialId[], columns: readonly Value[][]): Row[] {
    return ids.map((id, at) => {
      const values = columns.map((column) => column[at] ?? null);
      return { run: runOf(id, values), values };
    });
  }

  /** Take in what has changed, of which `first` to `last` is in sight; one change after the other. */
  refresh(ids: ReadonlySet<TrialId>, gone: boolean, first: number, last: number): void {
    this.work = this.work.then(async () => {
      try {
        await this.takeIn(ids, gone, first, last);
        this.error = null;
      } catch (error) {
        this.error = error as Error;
      }
      this.changed();
    });
  }

  private async takeIn(ids: ReadonlySet<TrialId>, gone: boolean, first: number, last: number): Promise<void> {
    let known = 0;
    const inSight: TrialId[] = [];
    for (const [page, rows] of this.pages) {
      rows.forEach(({ run }, at) => {
        if (!ids.has(run.id)) return;
        known++;
        const place = page * PAGE + at;
        if (place >= first && place <= last) inSight.push(run.id);
        else this.dirty.add(page);
      });
    }
    const left = inSight.length > 0 && (await this.patch(inSight));
    if (left) await this.reload(first, last);
    else if (gone || known < ids.size) await this.count(first, last);
  }

  /** New values for rows that stay where they are; whether there are some that the query no longer selects. */
  private async patch(ids: TrialId[]): Promise<boolean> {
    const query = both(this.wanted.query, { id: { $in: ids } });
    const table = await call("fetch_table", {
      query,
      columns: [...this.names],
      start: 0,
      limit: ids.length,
    });
    const fresh = new Map(this.rowsOf(table.ids, table.columns).map((row) => [row.run.id, row]));
    const sorted = this.wanted.order.map((name) => this.index.get(name.replace(/^-/, "")));
    for (const [page, rows] of this.pages) {
      if (!rows.some((row) => fresh.has(row.run.id))) continue;
      const patched = rows.map((row) => {
        const next = fresh.get(row.run.id);
        if (next === undefined) return row;
        if (sorted.some((at) => at !== undefined && next.values[at] !== row.values[at])) {
          this.outOfOrder = true;
        }
        return next;
      });
      this.pages.set(page, patched);
    }
    return fresh.size < ids.length;
  }

  /** Whether runs came or went; then what is in sight is fetched again. */
  private async count(first: number, last: number): Promise<void> {
    const { query } = this.wanted;
    const { total } = await call("fetch_table", { query, columns: ["uid"], start: 0, limit: 1 });
    if (total !== this.total) await this.reload(first, last);
  }

  /** Fetch again what is in sight, and the rest when it comes into sight. */
  async reload(first: number, last: number): Promise<void> {
    for (const page of this.pages.keys()) this.dirty.add(page);
    this.outOfOrder = false;
    const pages: number[] = [];
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page++) pages.push(page);
    await Promise.all(pages.map((page) => this.fetch(page)));
  }
}

export interface TableData {
  total: number | null;
  error: Error | null;
  /** What is shown is of an earlier question; the answer is on its way. */
  pending: boolean;
  outOfOrder: boolean;
  row: (at: number) => Row | undefined;
  find: (id: TrialId) => number | null;
  /** The value of a column in a row. */
  value: (row: Row, column: string) => Value;
  /** Tell which rows are in sight. */
  look: (first: number, last: number) => void;
  reload: () => void;
}

/** The rows of a list; while another one is on its way the old one stays. */
export function useTableData(wanted: Wanted | null): TableData {
  const [, draw] = useReducer((count: number) => count + 1, 0);
  const shown = useRef<Rows | null>(null);
  const next = useRef<Rows | null>(null);
  const sight = useRef<[number, number]>([0, 50]);
  const key = wanted && writeJson(wanted);
  const keyed = useRef<string | null>(null);
  if (key !== keyed.current && wanted !== null) {
    keyed.current = key;
    const rows: Rows = new Rows(wanted, () => {
      if (next.current === rows && rows.total !== null) {
        shown.current = rows;
        next.current = null;
      }
      draw(0);
    });
    next.current = rows;
  }
  // biome-ignore lint/correctness/useExhaustiveDependencies: another list starts to be fetched where this one is
  useEffect(() => {
    next.current?.ensure(...sight.current);
  }, [key]);

  const pending = useRef({ ids: new Set<TrialId>(), gone: false, reset: false });
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useEffect(() => () => clearTimeout(timer.current ?? undefined), []);
  useLive((change) => {
    const gathered = pending.current;
    for (const id of change.trials) gathered.ids.add(id);
    gathered.gone ||= change.deleted.size > 0;
    gathered.reset ||= change.reset;
    timer.current ??= setTimeout(() => {
      timer.current = null;
      const { ids, gone, reset } = pending.current;
      pending.current = { ids: new Set(), gone: false, reset: false };
      const rows = next.current ?? shown.current;
      if (reset) void rows?.reload(...sight.current);
      else rows?.refresh(ids, gone, ...sight.current);
    }, REFRESH_MS);
  });

  const rows = shown.current;
  return {
    total: rows?.total ?? null,
    error: next.current?.error ?? rows?.error ?? null,
    pending: next.current !== null,
    outOfOrder: rows?.outOfOrder ?? false,
    row: (at) => rows?.row(at),
    find: (id) => rows?.find(id) ?? null,
    value: (row, column) => row.values[rows?.index.get(column) ?? -1] ?? null,
    look: (first, last) => {
      sight.current = [first, last];
      (next.current ?? rows)?.ensure(first, last);
    },
    reload: () => void (next.current ?? rows)?.reload(...sight.current),
  };
}
