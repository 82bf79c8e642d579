// Charts: a grid of all metrics of the drawn runs, by the prefix of their names.
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { call, type Query, type Table, type TrialId } from "../api";
import { coloursOf, type Grouping, groupOf } from "../charts/build";
import { MOST_GROUPS } from "../charts/data";
import { SPREAD_NAMES, SPREADS } from "../charts/groups";
import { setHighlighted } from "../charts/highlight";
import { useInSight } from "../charts/insight";
import { X_LABELS } from "../charts/labels";
import { type Happening, happeningsOf } from "../charts/marks";
import { type ChartSpec, chartsOf, faultOf, matching, SYSTEM, TIMERS } from "../charts/names";
import type { Range } from "../charts/scale";
import { formatCount, formatValue, plural } from "../format";
import { both, useFetch, useLive, useQuery } from "../hooks";
import { writeJson } from "../json";
import { useKeys } from "../keys";
import { Icon } from "../parts/icons";
import { LineSwatch } from "../parts/runlist";
import { Empty, ErrorBox, Loading } from "../parts/states";
import { type Run, useDrawn, useRuns } from "../runs";
import { useAxis, useSelection, useSmoothing, useUndrawn } from "../state";
import "./charts.css";
import { ChartCard, HEIGHTS, NotSeen } from "./charts/card";
import {
  type ChartSize,
  turned,
  useCards,
  useClip,
  useFind,
  useFolded,
  useGroupBy,
  useLogX,
  useLogY,
  useMiddle,
  usePins,
  useResetZoom,
  useSize,
  useSpread,
  useSuperseded,
  useXMetric,
  useZoom,
} from "./charts/settings";
import { SizeChoice } from "./charts/size";
import { NoRuns } from "./runs/empty";

const AXES = ["step", "time", "relative", "ordinal"] as const;
/** As the style sheet has them, in pixels: the least width of a chart, the room between two, and what is above one. */
const WIDTHS = { s: 250, m: 340, l: 520 } as const;
const GAP_PX = 12;
const HEAD_PX = 36;
/** Charts of a section that are there at once; more come by a button. */
const FIRST = 60;
const REFRESH_MS = 3_000;
/** They are looked for again after this many times as long as it took. */
const REFRESH_REST = 20;

export default function Charts(): JSX.Element {
  const { query } = useQuery();
  const { total, error: runsError } = useRuns();
  const drawn = useDrawn();
  const took = useRef(0);
  const { data, error, again } = useFetch(query && writeJson(query), async (signal) => {
    const began = performance.now();
    const found = await call("fetch_fields", { query: query as Query }, signal);
    took.current = performance.now() - began;
    return found;
  });
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useLive(() => {
    // Metrics that are new: rarely, so that a quiet look now and then is enough.
    timer.current ??= setTimeout(
      () => {
        timer.current = null;
        again();
      },
      Math.max(REFRESH_MS, REFRESH_REST * took.current),
    );
  });
  const known = writeJson(data?.series ?? null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: `known` is its content
  const charts = useMemo(() => chartsOf(data?.series ?? []), [known]);
  if (error !== null && data === null) return <ErrorBox error={error} again={again} />;
  if (runsError !== null && total === null) return <ErrorBox error={runsError} />;
  if (data === null || total === null) return <Loading of="the names of metrics" />;
  if (total === 0) return <NoRuns />;
  if (charts.length === 0) {
    const media = data.series.map((series) => `${series.name} (${series.kind})`);
    return (
      <Empty title="These runs have no metrics">
        <p>
          {media.length === 0
            ? "A script logs one with trial.log_metrics(loss=…)."
            : `There are media: ${media.slice(0, 8).join(", ")}.`}
        </p>
      </Empty>
    );
  }
  const fields = data.fields.map((field) => field.name);
  return <Grid charts={charts} runs={drawn} fields={fields} more={data.more} />;
}

function Grid(props: {
  charts: readonly ChartSpec[];
  runs: readonly Run[];
  fields: readonly string[];
  /** There are more metrics than the answer names. */
  more: boolean;
}): JSX.Element {
  const { charts, runs } = props;
  const [find] = useFind();
  const [size] = useSize();
  const [pins] = usePins();
  const card = useCards();
  const [, resetZoom] = useResetZoom();
  const [smoothing, setSmoothing] = useSmoothing();
  const [logY, setLogY] = useLogY();
  const [selection, setSelection] = useSelection();
  const focused = useRef<string | null>(null);
  const grouping = useGrouping(runs);
  const happenings = useHappenings(grouping === null ? runs : NO_RUNS);
  const [off] = useUndrawn();
  const shut = off.length;
  const [xMetric] = useXMetric();
  const found = useMemo(() => matching(charts, find), [charts, find]);
  const sections = useMemo(() => {
    const bySection = new Map<string, ChartSpec[]>();
    const isPinned = new Set(pins);
    const put = (section: string, chart: ChartSpec) => {
      const charts = bySection.get(section);
      if (charts === undefined) bySection.set(section, [chart]);
      else charts.push(chart);
    };
    for (const chart of found) if (isPinned.has(chart.id)) put(PINNED, chart);
    for (const chart of found) if (!isPinned.has(chart.id)) put(chart.section, chart);
    return [...bySection];
  }, [found, pins]);
  useKeys([
    {
      keys: "l",
      label: "Logarithmic y of the chart under the pointer, else of all",
      group: "Charts",
      run: () => {
        if (focused.current === null) return setLogY(!logY);
        const { own, setOwn } = card(focused.current);
        setOwn(turned(own, "y", logY));
      },
    },
    {
      keys: "s",
      label: "More smoothing, and none again",
      group: "Charts",
      run: () => setSmoothing(SMOOTHINGS.find((one) => one > smoothing) ?? 0),
    },
    { keys: "z", label: "Reset the zoom of all charts", group: "Charts", run: resetZoom },
  ]);
  return (
    <div class="charts">
      <Toolbar charts={charts} fields={props.fields} />
      {props.more && (
        <p class="hint charts-note" role="status">
          These runs have more metrics than are listed here: filter the runs to see others.
        </p>
      )}
      {found.length === 0 && (
        <Empty title="No chart has that name">
          <p>
            There are {plural(charts.length, "chart")}, such as {charts[0]?.title}.
          </p>
        </Empty>
      )}
      {grouping !== null && (
        <p class="hint charts-note" role="status">
          {xMetric === null
            ? `Groups of all ${plural(grouping.total, "run")} that the filter selects`
            : `Groups of the ${plural(runs.length, "run")} that are drawn`}
          {xMetric === null && shut > 0 && `, but ${formatCount(shut)} whose eye is shut`}
          {grouping.colours.size >= MOST_GROUPS && `; the ${MOST_GROUPS} largest ones`}
        </p>
      )}
      {grouping === null && <PaperLegend runs={runs} />}
      <NotSeen />
      {grouping !== null && <GroupLegend colours={grouping.colours} />}
      {sections.map(([name, some]) => (
        <Section
          key={name}
          name={name}
          charts={some}
          size={size}
          alone={sections.length === 1}
          sparing={found.length > MOST_PLACED}
        >
          {(chart) => (
            <ChartCard
              key={chart.id}
              spec={chart}
              {...{ runs, grouping, happenings, size }}
              {...card(chart.id)}
              others={charts}
              onPick={(owner) => {
                if (!runs.some((run) => run.id === owner)) return;
                setSelection(
                  selection.includes(owner) ? selection.filter((id) => id !== owner) : [...selection, owner],
                );
              }}
              onFocus={(id) => {
                focused.current = id;
              }}
            />
          )}
        </Section>
      ))}
    </div>
  );
}

const NO_RUNS: readonly Run[] = [];
const PINNED = "Pinned";
/** Of more charts only the sections in sight are in the page. */
const MOST_PLACED = 150;
const SMOOTHINGS = [0.6, 0.9, 0.97, 0.99, 0.997] as const;

/** Groups in the legend. */
const MOST_NAMED = 40;

/** Which line is which run, where the list on the left is not beside the charts. */
function PaperLegend({ runs }: { runs: readonly Run[] }): JSX.Element {
  return (
    <ul class="group-legend on-paper" aria-hidden="true">
      {runs.slice(0, MOST_NAMED).map((run) => (
        <li key={run.id}>
          <LineSwatch colour={run.colour} dash={run.dash} /> {run.name}
        </li>
      ))}
      {runs.length > MOST_NAMED && <li>and {formatCount(runs.length - MOST_NAMED)} more</li>}
    </ul>
  );
}

/** Which colour is which group; the one under the pointer stands out in all charts. */
function GroupLegend({ colours }: { colours: ReadonlyMap<string, string> }): JSX.Element {
  return (
    <ul class="group-legend" aria-label="Groups">
      {[...colours].slice(0, MOST_NAMED).map(([name, colour]) => (
        <li key={name} onMouseEnter={() => setHighlighted(name)} onMouseLeave={() => setHighlighted(null)}>
          <i class="swatch" style={{ background: colour }} /> {name === "" ? "(none)" : name}
        </li>
      ))}
      {colours.size > MOST_NAMED && <li>and {formatCount(colours.size - MOST_NAMED)} more</li>}
    </ul>
  );
}

function Section(props: {
  name: string;
  charts: readonly ChartSpec[];
  size: ChartSize;
  /** There is no other one. */
  alone: boolean;
  /** Out of sight there is but the room that its charts need. */
  sparing: boolean;
  children: (chart: ChartSpec) => JSX.Element;
}): JSX.Element {
  const { name, charts, size } = props;
  const section = useRef<HTMLElement>(null);
  const grid = useRef<HTMLDivElement>(null);
  const measured = useRef<{ of: string; height: number } | null>(null);
  const inSight = useInSight(section);
  const [folded, setFolded] = useFolded();
  const [shown, setShown] = useState(FIRST);
  const changed = folded.includes(name);
  const open = (props.alone || (name !== SYSTEM && name !== TIMERS)) !== changed;
  const count = Math.min(shown, charts.length);
  const placed = inSight || !props.sparing;
  const kind = `${size} ${count}`;
  useLayoutEffect(() => {
    if (grid.current !== null) measured.current = { of: kind, height: grid.current.offsetHeight };
  });
  const room =
    measured.current?.of === kind
      ? measured.current.height
      : roomOf(count, size, section.current?.clientWidth ?? window.innerWidth);
  const toggle = () => setFolded(changed ? folded.filter((one) => one !== name) : [...folded, name]);
  return (
    <section class="chart-section" aria-label={name} ref={section}>
      <h2>
        <button type="button" class="quiet" aria-expanded={open} onClick={toggle}>
          <Icon name={open ? "down" : "right"} />
          {name} <span class="hint">{formatCount(charts.length)}</span>
        </button>
      </h2>
      {open && placed && (
        <div class={`chart-grid size-${size}`} ref={grid}>
          {charts.slice(0, shown).map(props.children)}
        </div>
      )}
      {open && !placed && <div style={{ height: `${room}px` }} />}
      {open && charts.length > shown && (
        <button type="button" class="button" onClick={() => setShown(shown + 4 * FIRST)}>
          Show {formatCount(Math.min(4 * FIRST, charts.length - shown))} more of{" "}
          {formatCount(charts.length - shown)}
        </button>
      )}
    </section>
  );
}

/** Pixels that so many charts are likely to need in a column so wide. */
function roomOf(count: number, size: ChartSize, width: number): number {
  const perRow = Math.max(1, Math.floor((width + GAP_PX) / (WIDTHS[size] + GAP_PX)));
  return Math.ceil(count / perRow) * (HEIGHTS[size] + HEAD_PX + GAP_PX) - GAP_PX;
}

function Toolbar(props: { charts: readonly ChartSpec[]; fields: readonly string[] }): JSX.Element {
  const [axis, setAxis] = useAxis();
  const [xMetric, setXMetric] = useXMetric();
  const [smoothing, setSmoothing] = useSmoothing();
  const [logX, setLogX] = useLogX();
  const [logY, setLogY] = useLogY();
  const [clip, setClip] = useClip();
  const [superseded, setSuperseded] = useSuperseded();
  const [by, setBy] = useGroupBy();
  const [middle, setMiddle] = useMiddle();
  const [spread, setSpread] = useSpread();
  const [size, setSize] = useSize();
  const [zoom, setZoom] = useZoom();
  const [zoomed, resetZoom] = useResetZoom();
  const metrics = props.charts.filter((chart) => chart.kind === "metric").flatMap((chart) => chart.names);
  const groupable = ["group", "status", ...props.fields.filter((name) => !name.startsWith("metadata.run"))];
  return (
    <div class="toolbar" role="toolbar" aria-label="All charts">
      <Find />
      <label>
        x
        <select
          value={xMetric === null ? axis : `:${xMetric}`}
          onChange={(event) => {
            const { value } = event.currentTarget;
            setZoom(null);
            if (value.startsWith(":")) setXMetric(value.slice(1));
            else {
              setXMetric(null);
              setAxis(value as (typeof AXES)[number]);
            }
          }}
        >
          {AXES.map((name) => (
            <option key={name} value={name}>
              {X_LABELS[name]}
            </option>
          ))}
          <optgroup label="another metric">
            {metrics.slice(0, 200).map((name) => (
              <option key={name} value={`:${name}`}>
                {name}
              </option>
            ))}
          </optgroup>
        </select>
      </label>
      <label title="Exponential average over all points, whatever is drawn of them">
        smoothing
        <input
          type="range"
          min={0}
          max={100}
          step={1}
          aria-label="Smoothing"
          aria-valuetext={String(smoothing)}
          value={Math.round(100 * positionOf(smoothing))}
          onInput={(event) => setSmoothing(smoothingAt(Number(event.currentTarget.value) / 100))}
        />
        <output>{smoothing}</output>
      </label>
      <Toggle label="log y" on={logY} set={setLogY} title="Logarithmic y of all charts" />
      <Toggle label="log x" on={logX} set={setLogX} title="Logarithmic x of all charts" />
      <Toggle
        label="clip"
        on={clip}
        set={setClip}
        title="Leave outliers out of the range of y; they are counted"
      />
      <Toggle
        label="superseded"
        on={superseded}
        set={setSuperseded}
        title="Points before a rewind, fainter"
      />
      <label>
        group
        <select value={by ?? ""} onChange={(event) => setBy(event.currentTarget.value || null)}>
          <option value="">by none</option>
          {groupable.map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </label>
      {by !== null && (
        <>
          <select
            aria-label="Middle of a group"
            value={middle}
            onChange={(event) => setMiddle(event.currentTarget.value as "mean" | "median")}
          >
            <option value="mean">mean</option>
            <option value="median">median</option>
          </select>
          <select
            aria-label="Band around it"
            value={spread}
            onChange={(event) => setSpread(event.currentTarget.value as typeof spread)}
          >
            {SPREADS.map((one) => (
              <option key={one} value={one}>
                {SPREAD_NAMES[one]}
              </option>
            ))}
          </select>
        </>
      )}
      <span class="grow" />
      {zoomed && (
        <button
          type="button"
          class="button"
          title="All of x and y again, in all charts (z)"
          onClick={resetZoom}
        >
          <Icon name="reset" /> {zoom === null ? "zoom" : zoomText(zoom)}
        </button>
      )}
      <SizeChoice size={size} onChange={setSize} />
    </div>
  );
}

/** The field for a regular expression; while it holds a wrong one, the last right one still selects. */
function Find(): JSX.Element {
  const [find, setFind] = useFind();
  const [draft, setDraft] = useState({ instead: find, text: find });
  const text = draft.instead === find ? draft.text : find;
  const fault = faultOf(text);
  return (
    <>
      <input
        type="search"
        aria-label="Find charts by a regular expression"
        placeholder="Find charts: ^train/|loss"
        aria-invalid={fault !== null}
        aria-describedby={fault === null ? undefined : "find-fault"}
        value={text}
        onInput={({ currentTarget: { value } }) => {
          const isRight = faultOf(value) === null;
          setDraft({ instead: isRight ? value : find, text: value });
          if (isRight) setFind(value);
        }}
      />
      {fault !== null && (
        <p class="fault" id="find-fault" role="alert">
          Not a regular expression: {fault}.{" "}
          {text === find ? "All charts are shown." : `Still shown: ${find === "" ? "all charts" : find}`}
        </p>
      )}
    </>
  );
}

function Toggle(props: {
  label: string;
  on: boolean;
  set: (on: boolean) => void;
  title: string;
}): JSX.Element {
  return (
    <button
      type="button"
      class="button toggle"
      aria-pressed={props.on}
      title={props.title}
      onClick={() => props.set(!props.on)}
    >
      {props.label}
    </button>
  );
}

const zoomText = ({ low, high }: Range) =>
  `${formatValue(Math.round(low * 100) / 100)} – ${formatValue(Math.round(high * 100) / 100)}`;

/** The slider moves evenly in the length of the average, 1 to 1,000 points: a quarter of the way is 0.82. */
const positionOf = (smoothing: number) => (smoothing <= 0 ? 0 : Math.log10(1 / (1 - smoothing)) / 3);
const smoothingAt = (position: number) => Math.round((1 - 10 ** (-3 * position)) * 1_000) / 1_000;

/** Rows of one answer. */
const PAGE = 10_000;

/** Some columns of any number of runs. */
async function rowsOf(ids: readonly TrialId[], columns: string[], signal: AbortSignal) {
  const found: Pick<Table, "ids" | "columns"> = { ids: [], columns: columns.map(() => []) };
  for (let at = 0; at < ids.length; at += PAGE) {
    const trials = ids.slice(at, at + PAGE);
    const page = await call("fetch_rows", { trials, columns }, signal);
    found.ids.push(...page.ids);
    page.columns.forEach((column, place) => {
      found.columns[place]?.push(...column);
    });
  }
  return found;
}

/** By which value runs are grouped, as was chosen; null for none. */
function useGrouping(runs: readonly Run[]): Grouping | null {
  const [by] = useGroupBy();
  const [middle] = useMiddle();
  const [spread] = useSpread();
  const [xMetric] = useXMetric();
  const [off] = useUndrawn();
  const { total } = useRuns();
  const { query: all } = useQuery();
  const query = useMemo(
    () => all && (off.length === 0 ? all : both(all, { id: { $nin: [...off] } })),
    [all, off],
  );
  const key = by === null || query === null ? null : writeJson([by, query, total]);
  const { data: groups } = useFetch(key, (signal) =>
    call(
      "fetch_groups_of",
      { query: query as Query, by: [by as string], measures: [], limit: MOST_GROUPS },
      signal,
    ),
  );
  const ids = runs.map((run) => run.id);
  const { data: rows } = useFetch(by === null || xMetric === null ? null : writeJson([by, ids]), (signal) =>
    rowsOf(ids, [by as string], signal),
  );
  return useMemo(() => {
    if (by === null || query === null) return null;
    const drawn = new Map(rows?.ids.map((id, at) => [id, rows.columns[0]?.[at]]));
    return {
      ...{ by, query, middle, spread },
      total: total ?? 0,
      of: ({ id }) => groupOf(by, drawn.get(id)),
      // Their curves need not wait for it.
      colours: coloursOf((groups ?? []).map((group) => groupOf(by, group.by[0]))),
    };
  }, [by, query, groups, total, rows, middle, spread]);
}

/** Where runs were rewound or resumed. */
function useHappenings(runs: readonly Run[]): readonly Happening[] {
  const ids = runs.map((run) => run.id);
  const { data, again } = useFetch(ids.length === 0 ? null : writeJson(ids), (signal) =>
    rowsOf(ids, ["metadata.rewinds", "metadata.resumes"], signal),
  );
  const running = runs.some((run) => run.status === "Running");
  useEffect(() => {
    if (!running) return;
    const timer = setInterval(() => {
      if (!document.hidden) again();
    }, 15_000);
    return () => clearInterval(timer);
  }, [running, again]);
  return useMemo(() => {
    const byId = new Map(runs.map((run) => [run.id, run]));
    return (data?.ids ?? []).flatMap((id, at) => {
      const run = byId.get(id);
      const [rewinds = null, resumes = null] = data?.columns.map((column) => column[at] ?? null) ?? [];
      return run === undefined ? [] : happeningsOf(run, rewinds, resumes);
    });
  }, [data, runs]);
}
