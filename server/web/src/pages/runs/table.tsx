// The table: as many rows as there are runs, of which only those in sight exist.
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { TrialId } from "../../api";
import { useNow } from "../../hooks";
import { Icon } from "../../parts/icons";
import { Link } from "../../parts/link";
import { statusKind } from "../../parts/status";
import type { Drawing, Run } from "../../runs";
import { Cell, isRight } from "./cell";
import type { Column } from "./columns";
import type { Row, TableData } from "./data";
import { Header, type HeaderProps } from "./header";

export const ROW_PX = 30;
const SPARE_ROWS = 8;
/** Check box, eye and name; on the left of everything. */
const nameWidth = () => (window.innerWidth <= 760 ? 176 : 264);

export interface TableProps extends Omit<HeaderProps, "offsets" | "allSelected"> {
  data: TableData;
  selected: ReadonlySet<TrialId>;
  isDrawn: Drawing["isDrawn"];
  cursor: TrialId | null;
  /** Move the cursor to a run. */
  onCursor: (id: TrialId | null) => void;
  /** Select a run, or those from the last one to it (`range`). */
  onSelect: (id: TrialId, at: number, range: boolean) => void;
  onDraw: Drawing["toggle"];
}

/** Distance of each pinned column from the left. */
function offsetsOf(
  columns: readonly Column[],
  pinned: ReadonlySet<string>,
  name: number,
): Map<string, number> {
  const offsets = new Map<string, number>();
  let left = name;
  for (const column of columns) {
    if (!pinned.has(column.name)) continue;
    offsets.set(column.name, left);
    left += column.width;
  }
  return offsets;
}

/** The table of runs. */
export function Table(props: TableProps): JSX.Element {
  const { data, columns, pinned, selected, cursor } = props;
  const { total } = data;
  const scroller = useRef<HTMLDivElement>(null);
  const [[first, last], setSight] = useState<[number, number]>([0, 40]);
  const now = useNow();
  const count = total ?? 0;

  const look = () => {
    const box = scroller.current;
    if (box === null) return;
    const from = Math.max(0, Math.floor(box.scrollTop / ROW_PX) - SPARE_ROWS);
    const to = Math.ceil((box.scrollTop + box.clientHeight) / ROW_PX) + SPARE_ROWS;
    if (from !== first || to !== last) setSight([from, to]);
  };
  // biome-ignore lint/correctness/useExhaustiveDependencies: the size is looked at once, and when it changes
  useLayoutEffect(() => {
    look();
    const observer = new ResizeObserver(look);
    if (scroller.current !== null) observer.observe(scroller.current);
    return () => observer.disconnect();
  }, []);
  // biome-ignore lint/correctness/useExhaustiveDependencies: `data` is made anew by each rendering
  useEffect(() => {
    if (count > 0) data.look(first, Math.min(last, count - 1));
  }, [first, last, count]);

  // Runs that came or went above what is in sight do not move it.
  const anchor = useRef<{ id: TrialId; at: number } | null>(null);
  useLayoutEffect(() => {
    const box = scroller.current;
    const before = anchor.current;
    if (box === null || before === null || box.scrollTop === 0) return;
    const at = data.find(before.id);
    if (at !== null && at !== before.at) box.scrollTop += (at - before.at) * ROW_PX;
  });
  useEffect(() => {
    const at = Math.ceil((scroller.current?.scrollTop ?? 0) / ROW_PX);
    const row = data.row(at);
    anchor.current = row === undefined ? null : { id: row.run.id, at };
  });

  // The cursor is kept in sight when keys move it.
  // biome-ignore lint/correctness/useExhaustiveDependencies: only when the cursor moves, not when rows come
  useEffect(() => {
    const box = scroller.current;
    const at = cursor === null ? null : data.find(cursor);
    if (box === null || at === null) return;
    const room = box.clientHeight - 2 * ROW_PX;
    if (at * ROW_PX < box.scrollTop) box.scrollTop = at * ROW_PX;
    else if (at * ROW_PX > box.scrollTop + room) box.scrollTop = at * ROW_PX - room;
  }, [cursor]);

  const name = nameWidth();
  const offsets = useMemo(() => offsetsOf(columns, pinned, name), [columns, pinned, name]);
  const template = `${name}px ${columns.map((column) => `${column.width}px`).join(" ")}`;
  const width = name + columns.reduce((sum, column) => sum + column.width, 0);
  const rows: JSX.Element[] = [];
  let selectedInSight = 0;
  for (let at = first; at < Math.min(last, count); at++) {
    const row = data.row(at);
    if (row !== undefined && selected.has(row.run.id)) selectedInSight++;
    rows.push(
      row === undefined ? (
        <div
          key={`at ${at}`}
          class="row waiting"
          role="row"
          aria-rowindex={at + 2}
          style={{ top: `${at * ROW_PX}px` }}
        />
      ) : (
        <TableRow
          key={row.run.id}
          row={row}
          at={at}
          columns={columns}
          offsets={offsets}
          selected={selected.has(row.run.id)}
          drawn={props.isDrawn(row.run.id, at)}
          current={row.run.id === cursor}
          now={isChanging(row.run) ? now : 0}
          data={data}
          onSelect={props.onSelect}
          onDraw={props.onDraw}
          onCursor={props.onCursor}
        />
      ),
    );
  }
  const allSelected = count > 0 && selected.size >= count && selectedInSight > 0;
  return (
    <div
      class={`table${data.pending ? " pending" : ""}`}
      role="grid"
      aria-label="Runs"
      aria-rowcount={total === null ? -1 : total + 1}
      aria-colcount={columns.length + 1}
      aria-multiselectable="true"
      aria-busy={data.pending}
      tabIndex={0}
      ref={scroller}
      onScroll={look}
      style={{ "--columns": template, "--width": `${width}px` }}
    >
      <Header {...props} offsets={offsets} allSelected={allSelected} />
      <div class="rows" role="rowgroup" style={{ height: `${count * ROW_PX}px` }}>
        {rows}
      </div>
    </div>
  );
}

/** Whether a row shows times that go on. */
function isChanging(run: Run): boolean {
  const kind = statusKind(run.status);
  return kind === "running" || kind === "lost";
}

interface RowProps {
  row: Row;
  at: number;
  columns: readonly Column[];
  offsets: ReadonlyMap<string, number>;
  selected: boolean;
  drawn: boolean;
  current: boolean;
  now: number;
  data: TableData;
  onSelect: TableProps["onSelect"];
  onDraw: TableProps["onDraw"];
  onCursor: TableProps["onCursor"];
}

function TableRow(props: RowProps): JSX.Element {
  const { row, at, columns, offsets, selected, drawn, current, now } = props;
  // The same element again is not compared: scrolling costs only the rows that are new.
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is not listed never changes what is shown
  return useMemo(() => {
    const { run } = row;
    const kind = `row${selected ? " selected" : ""}${current ? " current" : ""}${drawn ? "" : " undrawn"}`;
    return (
      <div
        class={kind}
        role="row"
        tabIndex={-1}
        aria-rowindex={at + 2}
        aria-selected={selected}
        style={{ top: `${at * ROW_PX}px` }}
        onFocusCapture={() => props.onCursor(run.id)}
      >
        <div class="cell name" role="rowheader">
          <input
            type="checkbox"
            aria-label={`Select ${run.name}`}
            tabIndex={-1}
            checked={selected}
            onClick={(event) => props.onSelect(run.id, at, event.shiftKey)}
          />
          <button
            type="button"
            class="quiet eye"
            tabIndex={-1}
            aria-pressed={drawn}
            aria-label={`Draw ${run.name}`}
            title={drawn ? "Drawn in charts" : "Not drawn in charts"}
            onClick={() => props.onDraw(run.id, at)}
          >
            {drawn ? <i class="swatch" style={{ background: run.colour }} /> : <Icon name="shut" />}
          </button>
          <Link
            view="run"
            patch={{ trial: run.id }}
            tabIndex={-1}
            title={run.note === "" ? run.name : `${run.name}\n\n${run.note}`}
          >
            {run.name}
          </Link>
        </div>
        {columns.map((column) => {
          const left = offsets.get(column.name);
          return (
            <div
              key={column.name}
              class={`cell${isRight(column) ? " right" : ""}${left === undefined ? "" : " pinned"}`}
              role="gridcell"
              style={left === undefined ? undefined : { left: `${left}px` }}
            >
              <Cell column={column} value={props.data.value(row, column.name)} run={run} now={now} />
            </div>
          );
        })}
      </div>
    );
  }, [row, at, columns, offsets, selected, drawn, current, now]);
}
