// Runs: the table of all that the filter selects.
import type { JSX } from "preact";
import { useCallback, useEffect, useMemo, useRef, useState } from "preact/hooks";
import { call, type Fields, type Query, type TrialId, Unreachable } from "../api";
import { plural } from "../format";
import { useFetch, useLive, useMayWrite, useQuery } from "../hooks";
import { writeJson } from "../json";
import { useKeys } from "../keys";
import { Icon } from "../parts/icons";
import { Empty, ErrorBox, Loading } from "../parts/states";
import { Banner, notifyError } from "../parts/toasts";
import { DEFAULT_ORDER, useDrawing } from "../runs";
import {
  go,
  list,
  useColumns,
  useFilter,
  useOrder,
  useParam,
  useProject,
  useSelection,
  useShowHidden,
} from "../state";
import { hide, SelectionBar } from "./runs/actions";
import { ColumnChooser, GroupChooser } from "./runs/chooser";
import { defaultColumns, describeColumn, isColumn, isOrder } from "./runs/columns";
import { useTableData } from "./runs/data";
import { NoRuns } from "./runs/empty";
import { Groups } from "./runs/groups";
import { Table } from "./runs/table";
import "./runs.css";

const FIELDS_MS = 10_000;
/** They are looked for again after this many times as long as it took. */
const FIELDS_REST = 30;
const LAST_COLUMNS = "track.columns";
/** As many as one answer may have. */
const MOST_SELECTED = 10_000;

/** Which values and series the runs have; a first run brings the first ones, later ones are looked for now and then. */
function useFields(query: Query | null): Fields | null {
  const took = useRef(0);
  const { data, again } = useFetch(query && `fields ${writeJson(query)}`, async (signal) => {
    const began = performance.now();
    const found = await call("fetch_fields", { query: query ?? {} }, signal);
    took.current = performance.now() - began;
    return found;
  });
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useEffect(() => () => clearTimeout(timer.current ?? undefined), []);
  useLive((change) => {
    const soon = change.reset || data?.total === 0;
    timer.current ??= setTimeout(
      () => {
        timer.current = null;
        again();
      },
      soon ? 500 : Math.max(FIELDS_MS, FIELDS_REST * took.current),
    );
  });
  return data;
}

/** The view of the table. */
export function Runs(): JSX.Element {
  const { query, fault, error: queryError } = useQuery();
  const [wanted, setChosen] = useColumns();
  const chosen = useMemo(() => wanted?.filter(isColumn) ?? null, [wanted]);
  const [pins, setPins] = useParam("pin", list);
  const [widths, setWidths] = useParam("width", list);
  const [ordered, setOrder] = useOrder();
  const order = useMemo(() => ordered.filter(isOrder), [ordered]);
  const [by, setBy] = useParam("by", list, true);
  const [selection, setSelection] = useSelection();
  const { isDrawn, toggle, drawOnly } = useDrawing();
  const [project] = useProject();
  const [filter] = useFilter();
  const [showHidden, setShowHidden] = useShowHidden();
  const [cursor, setCursor] = useState<TrialId | null>(null);
  const mayWrite = useMayWrite();

  const [hasRows, setHasRows] = useState(false);
  // The rows come first: a look at all values of many runs takes longer than a page of the table.
  const fields = useFields(hasRows ? query : null);
  const names = useMemo(() => {
    // What the columns of this project were the last time, until it is known what they are now.
    const guess = localStorage.getItem(`${LAST_COLUMNS}.${project}`);
    if (chosen !== null) return chosen;
    if (fields === null && guess !== null) return guess.split("\n");
    return defaultColumns(fields, project);
  }, [chosen, fields, project]);
  useEffect(() => {
    if (chosen === null && fields !== null)
      localStorage.setItem(`${LAST_COLUMNS}.${project}`, names.join("\n"));
  }, [chosen, fields, project, names]);
  const columns = useMemo(() => {
    const width = new Map(widths.map((item) => item.split(/:(?=\d+$)/) as [string, string]));
    const all = names.map((name) => {
      const column = describeColumn(name, fields);
      const set = Number(width.get(name));
      return set > 0 ? { ...column, width: set } : column;
    });
    return [
      ...all.filter((one) => pins.includes(one.name)),
      ...all.filter((one) => !pins.includes(one.name)),
    ];
  }, [names, fields, pins, widths]);
  const used = order.length > 0 ? order : DEFAULT_ORDER;
  const data = useTableData(query && { query, columns: names, order: used });
  const { total } = data;
  useEffect(() => {
    if (total !== null) setHasRows(true);
  }, [total]);

  const selected = useMemo(() => new Set(selection), [selection]);
  const lastSelected = useRef<number | null>(null);
  const select = useCallback(
    (id: TrialId, at: number, range: boolean) => {
      const next = new Set(selection);
      const from = lastSelected.current;
      lastSelected.current = at;
      if (range && from !== null) {
        for (let one = Math.min(from, at); one <= Math.max(from, at); one++) {
          const row = data.row(one);
          if (row !== undefined) next.add(row.run.id);
        }
      } else if (!next.delete(id)) next.add(id);
      setSelection([...next]);
    },
    [selection, setSelection, data.row],
  );
  const selectAll = () => {
    if (query === null) return;
    if (total !== null && selection.length >= total) {
      setSelection([]);
      return;
    }
    call("fetch_table", { query, columns: ["uid"], order: [...used], start: 0, limit: MOST_SELECTED }).then(
      ({ ids }) => setSelection(ids),
      notifyError,
    );
  };
  const move = (step: number) => {
    const at = cursor === null ? null : data.find(cursor);
    const to = at === null ? 0 : Math.max(0, Math.min((total ?? 1) - 1, at + step));
    const row = data.row(to);
    if (row !== undefined) setCursor(row.run.id);
  };
  const atCursor = (act: (id: TrialId) => void) => () => {
    if (cursor !== null) act(cursor);
  };
  const acted = () => (selection.length > 0 ? selection : cursor === null ? [] : [cursor]);
  useKeys(
    [
      { keys: "j", label: "Next run", run: () => move(1) },
      { keys: "k", label: "Run before", run: () => move(-1) },
      { keys: "ArrowDown", label: "Next run", run: () => move(1) },
      { keys: "ArrowUp", label: "Run before", run: () => move(-1) },
      { keys: "x", label: "Select the run", run: atCursor((id) => select(id, data.find(id) ?? 0, false)) },
      { keys: "o", label: "Open the run", run: atCursor((id) => go("run", { trial: id })) },
      { keys: "Enter", label: "Open the run", run: atCursor((id) => go("run", { trial: id })) },
      { keys: "e", label: "Draw the run, or not", run: atCursor((id) => toggle(id, data.find(id) ?? 0)) },
      { keys: "c", label: "Compare the selected runs", run: () => go("compare") },
      { keys: "Escape", label: "Select nothing", run: () => setSelection([]) },
      ...(mayWrite ? [{ keys: "h", label: "Hide the selected runs", run: () => hide(acted(), true) }] : []),
    ].map((key) => ({ ...key, group: "Runs" })),
  );

  if (queryError !== null && query === null) return <ErrorBox error={queryError} />;
  if (query === null)
    return fault === null ? <Loading /> : <Empty title="The filter has a fault">{null}</Empty>;
  const empty = total === 0 && !data.pending;
  return (
    <div class="runs">
      {selection.length > 0 && by.length === 0 ? (
        <SelectionBar
          selected={selection}
          total={total ?? 0}
          showsHidden={showHidden}
          onClear={() => setSelection([])}
          onSelectAll={selectAll}
          onDrawOnly={() => drawOnly(selection)}
        />
      ) : (
        <div class="bar" role="toolbar" aria-label="Table">
          <span class="total" role="status">
            {total === null ? "" : plural(total, "run")}
            {filter.trim() !== "" && total !== null && fault === null && (
              <span class="hint"> match the filter</span>
            )}
          </span>
          {data.outOfOrder && by.length === 0 && (
            <button type="button" class="link" onClick={data.reload}>
              <Icon name="reset" /> Values have changed: sort again
            </button>
          )}
          <span class="gap" />
          <label class="check" title="Also list runs that were hidden">
            <input
              type="checkbox"
              checked={showHidden}
              onChange={(event) => setShowHidden(event.currentTarget.checked)}
            />
            Hidden
          </label>
          <GroupChooser fields={fields} by={by} onChange={setBy} />
          <ColumnChooser fields={fields} chosen={names} isDefault={chosen === null} onChange={setChosen} />
        </div>
      )}
      {data.error !== null && total !== null && !(data.error instanceof Unreachable) && (
        <Banner kind="error">
          {data.error.message}{" "}
          <button type="button" class="link" onClick={data.reload}>
            Try again
          </button>
        </Banner>
      )}
      {by.length > 0 ? (
        <Groups query={query} by={by} columns={columns} />
      ) : empty ? (
        <NoRuns />
      ) : total === null ? (
        data.error === null ? (
          <Loading of="the table of runs" />
        ) : (
          <ErrorBox error={data.error} again={data.reload} />
        )
      ) : (
        <Table
          data={data}
          columns={columns}
          pinned={new Set(pins)}
          order={order}
          selected={selected}
          isDrawn={isDrawn}
          cursor={cursor}
          onCursor={setCursor}
          onSelect={select}
          onDraw={toggle}
          onOrder={setOrder}
          onColumns={setChosen}
          onPin={(name) =>
            setPins(pins.includes(name) ? pins.filter((one) => one !== name) : [...pins, name])
          }
          onWidth={(name, width) =>
            setWidths([...widths.filter((item) => !item.startsWith(`${name}:`)), `${name}:${width}`])
          }
          onGroup={(name) => setBy([...by, name])}
          onSelectAll={selectAll}
        />
      )}
    </div>
  );
}
