// Parallel coordinates: every run of the query as a line over the chosen axes.
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { call, type Fields, type Query, type TrialId, type Value } from "../api";
import { filterAnd } from "../complete";
import { hasText } from "../find";
import { formatCount, formatNumber, formatValue, plural } from "../format";
import { useFetch, useLive, useQuery } from "../hooks";
import { writeJson } from "../json";
import { useKeys } from "../keys";
import { Icon } from "../parts/icons";
import { Menu, MenuItem } from "../parts/menu";
import { SearchField } from "../parts/search";
import { Empty, ErrorBox, Loading } from "../parts/states";
import { notify } from "../parts/toasts";
import {
  json,
  number,
  optional,
  optionalList,
  useFilter,
  useParam,
  useProject,
  useSelection,
} from "../state";
import { colourOf, cssColour, useDark } from "../theme";
import {
  type Axis,
  axisOf,
  type Category,
  correlation,
  labelOf,
  ON_AXIS,
  writeNumber,
} from "./parallel/axes";
import {
  type Brush,
  bestShare,
  conditionOf,
  describe,
  filterOf,
  isSet,
  passing,
  readBrush,
} from "./parallel/brush";
import { bucketColours, bucketsOf, scaleColour } from "./parallel/colours";
import { Plot, toggleRail } from "./parallel/plot";
import {
  allColumns,
  defaultColumns,
  greaterIsBetter,
  isColumn,
  moved,
  STATISTICS,
  seriesColumn,
  splitSeries,
} from "./runs/columns";
import { NoRuns } from "./runs/empty";
import "./parallel.css";

/** As many runs as one answer may have. */
const MOST_ROWS = 10_000;
const MOST_AXES = 14;
const FIRST_VALUES = 6;
const FIRST_METRICS = 2;
/** A filter longer than this is refused. */
const MOST_FILTER = 65_000;
const REFRESH_MS = 4_000;
const SHARES = [1, 5, 10, 25, 50];
/** Pixels for the name of an axis that has much room. */
const LONE_HEAD = 240;

const useAxes = () => useParam("par.axes", optionalList);
const useBrushes = () => useParam("par.brush", json(readBrush));
const useColour = () => useParam("par.colour", optional);
const useLogs = () => useParam("par.log", json(readSwitch));
const readSwitch = (value: unknown) => (typeof value === "boolean" ? value : null);
const useTop = () => useParam("par.top", number(0));

export default function Parallel(): JSX.Element {
  const { query } = useQuery();
  const { data, error, again } = useFetch(query && writeJson(query), (signal) =>
    call("fetch_fields", { query: query as Query }, signal),
  );
  if (error !== null && data === null) return <ErrorBox error={error} again={again} />;
  if (query === null || data === null) return <Loading of="the names of parameters and metrics" />;
  if (data.total === 0) return <NoRuns />;
  return <Board query={query} fields={data} />;
}

/** The axes where none were chosen: what differs, then metrics by their best value. */
function defaultAxes(fields: Fields): string[] {
  const columns = defaultColumns(fields, "");
  // Lists, long texts and texts that are all different say nothing on an axis.
  const unfit = new Set(
    fields.fields
      .filter(
        ({ texts, numbers, booleans, others, values }) =>
          others > numbers + texts + booleans ||
          (texts > numbers && values.length >= 20) ||
          values.some((value) => typeof value === "string" && (value.length > 40 || value.includes("\n"))),
      )
      .map((field) => field.name),
  );
  const values = columns.filter((name) => /^(parameters|tags|metadata)\./.test(name) && !unfit.has(name));
  const metrics = columns
    .map(splitSeries)
    .filter((found) => found !== null)
    .map(({ root, series }) => seriesColumn(root, series, greaterIsBetter(series) ? "max" : "min"));
  const found = [...values.slice(0, FIRST_VALUES), ...metrics.slice(0, FIRST_METRICS)];
  return found.length >= 3 ? found : ["started", "duration", ...found];
}

function Board({ query, fields }: { query: Query; fields: Fields }): JSX.Element {
  const [chosen] = useAxes();
  const [wantedColour] = useColour();
  const names = useMemo(
    () => [...new Set(chosen ?? defaultAxes(fields))].filter(isColumn).slice(0, MOST_AXES),
    [chosen, fields],
  );
  const colour =
    (wantedColour !== null && isColumn(wantedColour) ? wantedColour : null) ??
    names.findLast((name) => name.startsWith("metrics.")) ??
    names.at(-1) ??
    null;
  const columns = useMemo(() => {
    const all = colour === null || names.includes(colour) ? names : [...names, colour];
    // In one order, so that to drag an axis fetches nothing.
    return ["name", "uid", "metadata.colour", ...[...all].sort()];
  }, [names, colour]);
  const { data, error, again } = useFetch(writeJson([query, columns]), async (signal) => {
    const table = await call("fetch_table", { query, columns, start: 0, limit: MOST_ROWS }, signal);
    return { columns, table };
  });
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useLive(() => {
    timer.current ??= setTimeout(() => {
      timer.current = null;
      again();
    }, REFRESH_MS);
  });
  const values = useMemo(
    () => new Map((data?.columns ?? []).map((name, at) => [name, data?.table.columns[at] ?? []])),
    [data],
  );
  const present = useMemo(() => names.filter((name) => values.has(name)), [names, values]);
  if (error !== null && data === null) return <ErrorBox error={error} again={again} />;
  if (data === null) return <Loading of={`${names.length} values of each run`} />;
  return (
    <Coordinates
      fields={fields}
      names={present}
      wanted={names}
      colour={colour}
      ids={data.table.ids}
      total={data.table.total}
      values={values}
    />
  );
}

interface CoordinatesProps {
  fields: Fields;
  /** Axes of which the values are there; and all that are wanted. */
  names: readonly string[];
  wanted: readonly string[];
  colour: string | null;
  ids: readonly TrialId[];
  total: number;
  values: ReadonlyMap<string, readonly Value[]>;
}

function Coordinates(props: CoordinatesProps): JSX.Element {
  const { names, ids, values } = props;
  const [, setNames] = useAxes();
  const [logs, setLogs] = useLogs();
  const [stored, setStored] = useBrushes();
  const [draft, setDraft] = useState<[axis: string, brush: Brush | null] | null>(null);
  const [top, setTop] = useTop();
  const [, setColour] = useColour();
  const [selection, setSelection] = useSelection();
  const [filter, setFilter] = useFilter();
  const dark = useDark();
  const rows = ids.length;
  const all = useMemo(() => {
    const made = new Map<string, Axis>();
    for (const name of [...names, ...(props.colour === null ? [] : [props.colour])]) {
      const column = values.get(name);
      if (column !== undefined && !made.has(name)) made.set(name, axisOf(name, column, logs[name]));
    }
    return made;
  }, [names, values, props.colour, logs]);
  const axes = useMemo(
    () => names.map((name) => all.get(name)).filter((axis) => axis !== undefined),
    [all, names],
  );
  const colour = (props.colour === null ? undefined : all.get(props.colour)) ?? null;
  const greater = colour !== null && greaterIsBetter(colour.name);
  const brushes = useMemo(() => {
    if (draft === null) return stored;
    const { [draft[0]]: _, ...rest } = stored;
    return draft[1] === null ? rest : { ...rest, [draft[0]]: draft[1] };
  }, [stored, draft]);
  const best = useMemo(
    () => (top > 0 && colour !== null ? bestShare(colour, top, greater) : null),
    [top, colour, greater],
  );
  const conditions = useMemo(() => {
    const set = Object.entries(brushes).filter(([name, brush]) => all.has(name) && isSet(brush));
    return best === null || colour === null ? set : [...set, [colour.name, best] as [string, Brush]];
  }, [brushes, best, colour, all]);
  const known = useMemo(() => [...all.values()], [all]);
  const shown = useMemo(() => passing(known, conditions, rows), [known, conditions, rows]);
  const count = useMemo(() => shown.reduce((sum, one) => sum + one, 0), [shown]);
  const buckets = useMemo(() => bucketsOf(colour, rows), [colour, rows]);
  const colours = useMemo(() => bucketColours(colour, dark, cssColour("--muted")), [colour, dark]);
  const correlations = useMemo(
    () => new Map(axes.map((axis) => [axis.name, colour === null ? null : correlation(axis, colour)])),
    [axes, colour],
  );
  const nameOf = (row: number) => {
    const name = values.get("name")?.[row];
    return typeof name === "string" && name !== ""
      ? name
      : String(values.get("uid")?.[row] ?? "").slice(0, 12);
  };
  const selected = useMemo(() => {
    const wanted = new Set(selection);
    const found = new Map<number, string>();
    if (wanted.size === 0) return found;
    ids.forEach((id, row) => {
      if (wanted.has(id)) found.set(row, colourOf(id, values.get("metadata.colour")?.[row]));
    });
    return found;
  }, [selection, ids, values]);
  const brush = (name: string, next: Brush | null, isDone = true) => {
    if (!isDone) {
      setDraft([name, next]);
      return;
    }
    const { [name]: _, ...rest } = stored;
    setDraft(null);
    setStored(next === null || !isSet(next) ? rest : { ...rest, [name]: next });
  };
  const clear = () => {
    setDraft(null);
    setStored({});
    setTop(0);
  };
  useKeys([{ keys: "Escape", label: "Remove all brushes", group: "Parallel", run: clear }]);
  const text = filterOf(known, conditions);
  const useAsFilter = () => {
    const whole = filterAnd(filter.trim(), text);
    if (whole.length > MOST_FILTER) {
      notify("The filter would be too long: brush fewer categories.");
      return;
    }
    isFiltering.current = true;
    setFilter(whole);
  };
  // The brushes stay until the rows of the new filter are there, so that no other row comes into sight.
  const isFiltering = useRef(false);
  // biome-ignore lint/correctness/useExhaustiveDependencies: only when other values have come
  useEffect(() => {
    if (isFiltering.current) clear();
    isFiltering.current = false;
  }, [values]);
  return (
    <div class="parallel">
      <div class="toolbar" role="toolbar" aria-label="Parallel coordinates">
        <AxesMenu fields={props.fields} names={props.wanted} onChange={setNames} />
        <label>
          colour
          <select
            value={props.colour ?? ""}
            onChange={(event) => setColour(event.currentTarget.value || null)}
          >
            {[...new Set([...names, ...(props.colour === null ? [] : [props.colour])])].map((name) => (
              <option key={name} value={name}>
                {labelOf(name)}
              </option>
            ))}
          </select>
        </label>
        {colour !== null && <Legend axis={colour} dark={dark} colours={colours} />}
        {colour?.kind === "number" && (
          <label>
            best
            <select value={String(top)} onChange={(event) => setTop(Number(event.currentTarget.value))}>
              <option value="0">all</option>
              {(top > 0 && !SHARES.includes(top) ? [...SHARES, top] : SHARES).map((share) => (
                <option key={share} value={share}>
                  {share} %
                </option>
              ))}
            </select>
          </label>
        )}
        <span class="grow" />
        <span role="status" class="par-count">
          {count === rows ? plural(rows, "run") : `${formatCount(count)} of ${plural(rows, "run")}`}
          {props.total > rows && <span class="hint"> (the first of {formatCount(props.total)})</span>}
        </span>
      </div>
      {conditions.length > 0 && (
        <div class="par-conditions">
          <ul aria-label="Conditions">
            {conditions.map(([name, one], at) => {
              const axis = all.get(name) as Axis;
              const isBest = best !== null && at === conditions.length - 1;
              return (
                <li key={`${name} ${isBest}`} title={conditionOf(axis, one)}>
                  <b>{axis.label}</b> {isBest && `best ${top} %: `}
                  {describe(axis, one)}
                  <button
                    type="button"
                    class="quiet small"
                    aria-label={`Remove the condition on ${axis.label}`}
                    onClick={() => (isBest ? setTop(0) : brush(name, null))}
                  >
                    <Icon name="close" />
                  </button>
                </li>
              );
            })}
          </ul>
          <button
            type="button"
            class="button primary"
            title={text}
            disabled={count === 0}
            onClick={useAsFilter}
          >
            Use as filter
          </button>
          <button
            type="button"
            class="button"
            disabled={count === 0}
            onClick={() => setSelection(ids.filter((_, row) => shown[row] === 1))}
          >
            Select {formatCount(count)}
          </button>
          <button type="button" class="link" onClick={clear}>
            Remove all
          </button>
        </div>
      )}
      {axes.length === 0 ? (
        <Empty title="No axis is chosen">
          <p>Choose parameters and metrics under Axes.</p>
        </Empty>
      ) : (
        <Plot
          axes={axes}
          rows={rows}
          shown={shown}
          brushes={brushes}
          onBrush={brush}
          buckets={buckets}
          colours={colours}
          greaterLast={greater}
          selected={selected}
          onPick={(row) => {
            const id = ids[row] as TrialId;
            setSelection(selection.includes(id) ? selection.filter((one) => one !== id) : [...selection, id]);
          }}
          nameOf={nameOf}
          valueOf={(axis, row) =>
            axis.rails[row] === ON_AXIS
              ? writeNumber(axis, axis.numbers[row] as number)
              : formatValue(values.get(axis.name)?.[row]) || "missing"
          }
          dark={dark}
          header={(axis, at, x, places) => (
            <Head
              key={axis.name}
              axis={axis}
              x={x}
              places={places}
              correlation={correlations.get(axis.name) ?? null}
              isColour={axis.name === colour?.name}
              brush={brushes[axis.name]}
              onBrush={(next) => brush(axis.name, next)}
              move={(to) => setNames(moved(props.wanted, axis.name, to))}
              at={at}
              count={axes.length}
              remove={() => setNames(props.wanted.filter((name) => name !== axis.name))}
              replace={(name) =>
                setNames([...new Set(props.wanted.map((one) => (one === axis.name ? name : one)))])
              }
              setLog={(log) => setLogs({ ...logs, [axis.name]: log })}
              setColour={() => setColour(axis.name)}
            />
          )}
        />
      )}
      <p class="hint par-help">
        Drag along an axis to brush it, click on it to remove that; drag its name to move it. A click on a
        line selects the run. ρ is Spearman’s rank correlation with the colour.
      </p>
    </div>
  );
}

function Legend({
  axis,
  dark,
  colours,
}: {
  axis: Axis;
  dark: boolean;
  colours: readonly string[];
}): JSX.Element | null {
  if (axis.kind === "category") {
    return (
      <span class="par-legend">
        {axis.categories.slice(0, 8).map((category, at) => (
          <span key={String(category)} class="par-key">
            <i class="swatch" style={{ background: colours[at % 10] ?? "" }} /> {formatValue(category)}
          </span>
        ))}
        {axis.categories.length > 8 && "…"}
      </span>
    );
  }
  if (!axis.hasPlaces) return null;
  const stops = [0, 0.25, 0.5, 0.75, 1].map((share) => scaleColour(share, dark));
  return (
    <span class="par-legend">
      {writeNumber(axis, axis.low)}
      <i class="par-scale" style={{ background: `linear-gradient(to right, ${stops.join(", ")})` }} />
      {writeNumber(axis, axis.high)}
    </span>
  );
}

function AxesMenu(props: {
  fields: Fields;
  names: readonly string[];
  onChange: (names: readonly string[] | null) => void;
}): JSX.Element {
  const { names } = props;
  const [project] = useProject();
  const [find, setFind] = useState("");
  const useless = new Set(["uid", "description", "seen", ...(project === null ? [] : ["project"])]);
  const columns = useMemo(() => allColumns(props.fields), [props.fields]);
  const found = columns.filter(
    ({ name }) =>
      !useless.has(name) &&
      !names.includes(name) &&
      !/^metadata\.(_|hidden$|colour$|heartbeat$)/.test(name) &&
      hasText(name, find),
  );
  return (
    <Menu
      button={
        <>
          <Icon name="columns" /> Axes
        </>
      }
      label="Choose axes"
    >
      {() => (
        <>
          <SearchField label="Find an axis" hint="Find" value={find} onChange={setFind} />
          <MenuItem onClick={() => props.onChange(null)}>What differs, and metrics</MenuItem>
          {names
            .filter((name) => hasText(name, find))
            .map((name) => (
              <MenuItem
                key={name}
                checked
                onClick={() => props.onChange(names.filter((one) => one !== name))}
              >
                {name}
              </MenuItem>
            ))}
          {found.slice(0, 80).map(({ name }) => (
            <MenuItem
              key={name}
              checked={false}
              onClick={() => {
                if (names.length < MOST_AXES) props.onChange([...names, name]);
                else notify(`At most ${MOST_AXES} axes are drawn: remove one first.`);
              }}
            >
              {name}
            </MenuItem>
          ))}
        </>
      )}
    </Menu>
  );
}

interface HeadProps {
  axis: Axis;
  x: number;
  places: readonly number[];
  at: number;
  count: number;
  correlation: number | null;
  isColour: boolean;
  brush: Brush | undefined;
  onBrush: (brush: Brush | null) => void;
  move: (to: number) => void;
  remove: () => void;
  replace: (name: string) => void;
  setLog: (log: boolean) => void;
  setColour: () => void;
}

/** Pixels for the name of an axis: up to that of the next one, and within the picture. */
function headWidth([first, second]: readonly number[], isOutermost: boolean): number {
  if (first === undefined || second === undefined) return LONE_HEAD;
  return Math.min(LONE_HEAD, second - first - 8, isOutermost ? 2 * first : LONE_HEAD);
}

/** The name of an axis: dragged it moves the axis, pressed it opens what can be done with it. */
function Head(props: HeadProps): JSX.Element {
  const { axis, x, places } = props;
  const [offset, setOffset] = useState(0);
  const drag = useRef<{ from: number; moved: boolean } | null>(null);
  const found = splitSeries(axis.name);
  return (
    <li
      class={`par-head${props.isColour ? " colour" : ""}${offset === 0 ? "" : " moving"}`}
      style={{
        left: `${x + offset}px`,
        width: `${headWidth(places, props.at === 0 || props.at === props.count - 1)}px`,
      }}
      onPointerDown={(event) => {
        // Menus that are open inside keep their pointer.
        if (event.button !== 0 || (event.target as Element).closest(".panel") !== null) return;
        drag.current = { from: event.clientX, moved: false };
      }}
      onPointerMove={(event) => {
        const { current } = drag;
        if (current === null) return;
        const by = event.clientX - current.from;
        if (!current.moved && Math.abs(by) > 4) {
          current.moved = true;
          event.currentTarget.setPointerCapture(event.pointerId);
        }
        if (current.moved) setOffset(by);
      }}
      onPointerUp={() => {
        if (drag.current?.moved) {
          const to = places.filter((place, at) => at !== props.at && place < x + offset).length;
          if (to !== props.at) props.move(to);
        }
        drag.current = null;
        setOffset(0);
      }}
      onPointerCancel={() => {
        drag.current = null;
        setOffset(0);
      }}
    >
      <Menu
        class="quiet par-name"
        label={`Axis ${axis.name}`}
        panelClass="par-panel"
        button={<span>{axis.label}</span>}
      >
        {(close) => {
          const act = (run: () => void) => () => {
            close();
            run();
          };
          return (
            <>
              <p class="par-full">{axis.name}</p>
              <BrushForm {...props} />
              <hr />
              {axis.kind === "number" && (axis.canLog || axis.log) && (
                <MenuItem checked={axis.log} onClick={act(() => props.setLog(!axis.log))}>
                  Logarithmic
                </MenuItem>
              )}
              <MenuItem checked={props.isColour} onClick={act(props.setColour)}>
                Colours the lines
              </MenuItem>
              {found !== null &&
                STATISTICS.map((statistic) => (
                  <MenuItem
                    key={statistic}
                    checked={found.statistic === statistic}
                    onClick={act(() => props.replace(seriesColumn(found.root, found.series, statistic)))}
                  >
                    {statistic}
                  </MenuItem>
                ))}
              <hr />
              {props.at > 0 && <MenuItem onClick={act(() => props.move(props.at - 1))}>Move left</MenuItem>}
              {props.at < props.count - 1 && (
                <MenuItem onClick={act(() => props.move(props.at + 1))}>Move right</MenuItem>
              )}
              <MenuItem onClick={act(props.remove)}>Remove the axis</MenuItem>
            </>
          );
        }}
      </Menu>
      <span class="par-rho" title="Spearman’s rank correlation with the colour">
        {props.isColour
          ? "colour"
          : props.correlation === null
            ? " "
            : `ρ ${formatNumber(props.correlation, 2)}`}
      </span>
    </li>
  );
}

/** Brushing without a pointer. */
function BrushForm({ axis, brush, onBrush }: HeadProps): JSX.Element {
  const end = (name: "low" | "high", text: string) => {
    const value = text.trim() === "" ? undefined : Number(text);
    if (value !== undefined && !Number.isFinite(value)) return;
    const { [name]: _, ...rest } = brush ?? {};
    const next: Brush = value === undefined ? rest : { ...rest, [name]: value };
    onBrush(isSet(next) ? next : null);
  };
  const toggle = (category: Category) => {
    const values = brush?.values ?? [];
    const { values: _, ...rest } = brush ?? {};
    const next = values.includes(category) ? values.filter((one) => one !== category) : [...values, category];
    onBrush(next.length === 0 ? (isSet(rest) ? rest : null) : { ...rest, values: next });
  };
  return (
    <div class="par-form">
      {axis.kind === "number" ? (
        <>
          <label>
            from
            <input
              type="text"
              inputMode="decimal"
              aria-label={`Least ${axis.label}`}
              placeholder={String(axis.low)}
              value={brush?.low ?? ""}
              onChange={(event) => end("low", event.currentTarget.value)}
            />
          </label>
          <label>
            to
            <input
              type="text"
              inputMode="decimal"
              aria-label={`Greatest ${axis.label}`}
              placeholder={String(axis.high)}
              value={brush?.high ?? ""}
              onChange={(event) => end("high", event.currentTarget.value)}
            />
          </label>
        </>
      ) : (
        axis.categories.slice(0, 60).map((category) => (
          <label key={`${typeof category} ${category}`} class="check">
            <input
              type="checkbox"
              checked={brush?.values?.includes(category) ?? false}
              onChange={() => toggle(category)}
            />
            <span>{formatValue(category) || '""'}</span>
          </label>
        ))
      )}
      {axis.hasOdd && (
        <label class="check">
          <input
            type="checkbox"
            checked={brush?.odd ?? false}
            onChange={() => onBrush(toggleRail(brush, "odd"))}
          />
          {axis.kind === "number" ? "not a finite number" : "other values"}
        </label>
      )}
      {axis.hasMissing && (
        <label class="check">
          <input
            type="checkbox"
            checked={brush?.missing ?? false}
            onChange={() => onBrush(toggleRail(brush, "missing"))}
          />
          missing
        </label>
      )}
    </div>
  );
}
