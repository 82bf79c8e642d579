// One chart with its controls; it fetches only while it is in sight.
import type { JSX } from "preact";
import { useMemo, useRef, useState } from "preact/hooks";
import { buildCurves, buildGroups, type Grouping, keysOf } from "../../charts/build";
import { Chart } from "../../charts/chart";
import type { Curve } from "../../charts/curve";
import { useGroups, useSeries, WIDTH } from "../../charts/data";
import { useInSight } from "../../charts/insight";
import type { XKind } from "../../charts/labels";
import { type Happening, marksOf } from "../../charts/marks";
import { type ChartSpec, labelOf } from "../../charts/names";
import { csvOfAll, csvOfCurves, download, pageColours, pngOf, svgOf } from "../../charts/save";
import { type Range, rangeOfX, rangeOfY } from "../../charts/scale";
import { hasText } from "../../find";
import { formatCount, formatNumber } from "../../format";
import { Fence } from "../../parts/fence";
import { Icon } from "../../parts/icons";
import { Menu, MenuItem } from "../../parts/menu";
import { SearchField } from "../../parts/search";
import { Loading } from "../../parts/states";
import { notifyError } from "../../parts/toasts";
import type { Run } from "../../runs";
import { useAxis, useSmoothing } from "../../state";
import { DASHES } from "../../theme";
import {
  type ChartSize,
  type Own,
  turned,
  useClip,
  useLogX,
  useLogY,
  useSuperseded,
  useXMetric,
  useZoom,
} from "./settings";

/** Of a chart inside its frame, in pixels. */
export const HEIGHTS = { s: 170, m: 230, l: 320 } as const;
const NONE: string[] = [];
const NOT_HAPPENED: readonly Happening[] = [];
/** Columns of one chart: of many series each has fewer. */
const MOST_COLUMNS = 262_144;

export interface CardProps {
  spec: ChartSpec;
  runs: readonly Run[];
  grouping?: Grouping | null;
  happenings?: readonly Happening[];
  size: ChartSize;
  own: Own;
  setOwn: (own: Own) => void;
  pinned: boolean;
  setPinned: (pinned: boolean) => void;
  /** All charts, to add one to this. */
  others: readonly ChartSpec[];
  onPick?: (owner: string) => void;
  onFocus?: (id: string) => void;
}

/** One chart; if it fails, the others stay. */
export function ChartCard(props: CardProps): JSX.Element {
  return (
    <Fence>
      <Card {...props} />
    </Fence>
  );
}

function Card(props: CardProps): JSX.Element {
  const { runs, own, size, grouping = null, happenings = NOT_HAPPENED } = props;
  const card = useRef<HTMLElement>(null);
  const inSight = useInSight(card);
  const [axis] = useAxis();
  const [xMetric] = useXMetric();
  const [smoothing] = useSmoothing();
  const [zoom, setZoom] = useZoom();
  const [allLogX] = useLogX();
  const [allLogY] = useLogY();
  const [allClip] = useClip();
  const [superseded] = useSuperseded();
  const logX = own.x ?? allLogX;
  const logY = own.y ?? allLogY;
  const clip = own.clip ?? allClip;
  const zoomY = own.range ?? null;
  const more = own.more ?? NONE;
  const spec = useMemo(() => ({ ...props.spec, names: [...props.spec.names, ...more] }), [props.spec, more]);
  const keys = useMemo(() => keysOf(spec, runs, xMetric, superseded), [spec, runs, xMetric, superseded]);
  const fitting = own.big || size === "l" ? WIDTH : WIDTH / 2;
  const width = Math.max(20, Math.min(fitting, Math.floor(MOST_COLUMNS / Math.max(1, keys.length))));
  // By another metric the window is one of its values, which no axis of the server knows.
  const isGrouped = grouping !== null && xMetric === null;
  const series = useSeries(
    inSight && !isGrouped ? keys : null,
    xMetric === null ? axis : "step",
    xMetric === null ? zoom : null,
    width,
  );
  const { names, kind } = spec;
  const groups = useGroups(
    inSight && isGrouped
      ? { query: grouping.query, by: grouping.by, total: grouping.total, kind, names, axis, zoom }
      : null,
  );
  const fetched = isGrouped ? groups : series;
  const isThere = isGrouped ? groups.groups !== null : series.series !== null;
  const { curves, faults } = useMemo(
    () =>
      isGrouped
        ? buildGroups(spec, groups.groups ?? [], grouping, smoothing)
        : buildCurves({
            ...{ spec, runs, smoothing, xMetric, grouping },
            keys: series.keys,
            series: series.series ?? [],
          }),
    [spec, runs, smoothing, xMetric, grouping, isGrouped, groups.groups, series.keys, series.series],
  );
  const columns = curves.find((curve) => curve.columns !== null)?.columns ?? null;
  const grouped = groups.groups?.flat().find((group) => !("error" in group));
  const axisOf = isGrouped ? grouped : columns;
  const asOrdinal =
    xMetric === null && axis === "step" && axisOf && "axis" in axisOf && axisOf.axis === "ordinal";
  const xKind: XKind = xMetric !== null ? "metric" : asOrdinal ? "ordinal" : axis;
  const marks = useMemo(() => marksOf(happenings, curves, xKind), [happenings, curves, xKind]);
  const height = own.big ? 460 : HEIGHTS[size];
  const isSummed = curves.some((curve) => curve.columns !== null && !curve.columns.exact);
  const { title } = props.spec;
  const heading = more.length === 0 ? title : [title, ...more].join(" · ");
  const save = (make: () => Promise<void> | void) => {
    Promise.resolve()
      .then(make)
      .catch((error: Error) => notifyError(error));
  };
  const drawing = () => {
    const x = zoom ?? rangeOfX(curves, logX);
    return svgOf({
      ...{ title: heading, curves, marks, xKind, logX, logY, x, width: 800, height: 430 },
      xLabel: xMetric,
      y: rangeOfY(curves, x, logY, clip, zoomY),
      colours: pageColours(),
    });
  };
  const set = (part: Own) => props.setOwn({ ...own, ...part });
  const turn = (name: "y" | "x" | "clip", all: boolean) => props.setOwn(turned(own, name, all));
  const onZoom = (drawn: { x?: Range; y?: Range } | null) => {
    if (drawn === null || drawn.x !== undefined) setZoom(drawn?.x ?? null);
    const { range: _, ...rest } = own;
    if (drawn === null) props.setOwn(rest);
    else if (drawn.y !== undefined) set({ range: drawn.y });
  };
  return (
    <article
      ref={card}
      class={`chart-card${own.big ? " big" : ""}${isThere ? "" : " not-fetched"}`}
      aria-label={`Chart ${heading}`}
      data-chart={props.spec.id}
      onMouseEnter={() => props.onFocus?.(props.spec.id)}
      onFocusCapture={() => props.onFocus?.(props.spec.id)}
    >
      <header>
        <h3 title={spec.names.join("\n")}>{heading}</h3>
        {isSummed && (
          <span
            class="hint"
            title="Each column of the picture sums up many points: least, greatest, mean. Zoom in to see every one."
          >
            summed
          </span>
        )}
        <span class="grow" />
        <button
          type="button"
          class="quiet small"
          aria-pressed={logY}
          title="Logarithmic y (l)"
          onClick={() => turn("y", allLogY)}
        >
          log
        </button>
        {(zoom !== null || zoomY !== null) && (
          <button
            type="button"
            class="quiet small"
            title="All of x and y again (double click, or z for all charts)"
            aria-label="Reset the zoom"
            onClick={() => onZoom(null)}
          >
            <Icon name="reset" />
          </button>
        )}
        <Menu class="quiet small" label={`More of ${heading}`} button={<Icon name="more" />}>
          {(close) => {
            const item = (label: string, run: () => void, checked?: boolean) => (
              <MenuItem
                {...(checked === undefined ? {} : { checked })}
                onClick={() => {
                  close();
                  run();
                }}
              >
                {label}
              </MenuItem>
            );
            return (
              <>
                {item("Pinned", () => props.setPinned(!props.pinned), props.pinned)}
                {item("Large", () => set({ big: !own.big }), own.big ?? false)}
                {item("Table of values", () => set({ table: !own.table }), own.table ?? false)}
                {item("Logarithmic y", () => turn("y", allLogY), logY)}
                {item("Logarithmic x", () => turn("x", allLogX), logX)}
                {item("Clip outliers", () => turn("clip", allClip), clip)}
                <hr />
                {item("Save what is seen as CSV", () =>
                  download(csvOfCurves(curves), `${heading}.csv`, "text/csv"),
                )}
                {item("Save all points as CSV", () =>
                  save(async () => download(await csvOfAll(allSeries(spec, runs)), `${heading}.all.csv`)),
                )}
                {item("Save as SVG", () => download(drawing(), `${heading}.svg`, "image/svg+xml"))}
                {item("Save as PNG", () =>
                  save(async () => download(await pngOf(drawing()), `${heading}.png`)),
                )}
              </>
            );
          }}
        </Menu>
        <AddMetric others={props.others} spec={spec} more={more} onChange={(names) => set({ more: names })} />
      </header>
      <div class="chart-body" style={{ minHeight: `${height}px` }}>
        {isThere && curves.length > 0 && (
          <Chart
            {...{ curves, xKind, logX, logY, clip, zoom, zoomY, height, onZoom }}
            marks={marks}
            label={`${heading} of ${formatCount(curves.length)} curves`}
            link={`charts-${xKind}`}
            {...(props.onPick === undefined ? {} : { onPick: props.onPick })}
          />
        )}
        {isThere && curves.length === 0 && faults.length === 0 && (
          <p class="hint chart-none">
            {xMetric === null
              ? "None of the drawn runs has it."
              : `None of the drawn runs has it and ${xMetric}.`}
          </p>
        )}
        {fetched.pending && fetched.error === null && !isThere && <Loading />}
        {fetched.error !== null && !isThere && (
          <p class="fault chart-none" role="alert">
            {fetched.error.message}{" "}
            <button type="button" class="link" onClick={fetched.again}>
              Try again
            </button>
          </p>
        )}
      </div>
      {asOrdinal && (
        <p class="hint chart-foot">It has no steps, or they do not ascend: x is the number of the point.</p>
      )}
      {faults.slice(0, 3).map((fault) => (
        <p key={fault} class="fault chart-foot" role="alert">
          {fault}
        </p>
      ))}
      {spec.names.length > 1 && <Dashes spec={spec} />}
      {own.table && <Values curves={curves} />}
    </article>
  );
}

/** On paper: why charts are missing there. */
export function NotSeen(): JSX.Element {
  return <p class="hint on-paper not-seen">Charts that were not scrolled to are left out.</p>;
}

function allSeries(spec: ChartSpec, runs: readonly Run[]) {
  return runs.flatMap((run) =>
    spec.names.map((name) => ({
      key: [run.id, spec.kind, name] as [string, string, string],
      label: run.name,
    })),
  );
}

/** Which dash is which series. */
function Dashes({ spec }: { spec: ChartSpec }): JSX.Element {
  return (
    <ul class="chart-dashes" aria-label="Line styles">
      {spec.names.slice(0, 8).map((name, at) => (
        <li key={name}>
          <svg viewBox="0 0 26 4" aria-hidden="true">
            <path d="M0 2h26" stroke-dasharray={(DASHES[at % DASHES.length] ?? []).join(" ") || undefined} />
          </svg>
          {labelOf(name, spec) || name}
        </li>
      ))}
      {spec.names.length > 8 && <li>and {formatCount(spec.names.length - 8)} more</li>}
    </ul>
  );
}

/** Draw another metric into the same chart. */
function AddMetric(props: {
  others: readonly ChartSpec[];
  spec: ChartSpec;
  more: readonly string[];
  onChange: (names: string[]) => void;
}): JSX.Element {
  const [find, setFind] = useState("");
  const known = new Set(props.spec.names);
  const proposals = props.others
    .filter((chart) => chart.kind === props.spec.kind)
    .flatMap((chart) => chart.names)
    .filter((name) => !known.has(name) && hasText(name, find))
    .slice(0, 30);
  return (
    <Menu class="quiet small" label="Draw another metric in this chart" button={<Icon name="plus" />}>
      {(close) => (
        <>
          <SearchField label="Find a metric" hint="Find a metric" value={find} onChange={setFind} />
          {props.more.map((name) => (
            <MenuItem
              key={name}
              checked
              onClick={() => props.onChange(props.more.filter((one) => one !== name))}
            >
              {name}
            </MenuItem>
          ))}
          {proposals.map((name) => (
            <MenuItem
              key={name}
              onClick={() => {
                props.onChange([...props.more, name]);
                close();
              }}
            >
              {name}
            </MenuItem>
          ))}
          {proposals.length === 0 && props.more.length === 0 && (
            <p class="hint chart-none">No other metric.</p>
          )}
        </>
      )}
    </Menu>
  );
}

/** The values of what is drawn, for reading and for screen readers. */
function Values({ curves }: { curves: readonly Curve[] }): JSX.Element {
  return (
    <div class="chart-values">
      <table>
        <thead>
          <tr>
            {["curve", "last", "min", "max", "mean", "points", "not finite"].map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {curves.map((curve) => (
            <tr key={curve.key}>
              <th scope="row">
                <i class="swatch" style={{ background: curve.colour }} /> {curve.label}
              </th>
              {statisticsOf(curve).map((value, at) => (
                <td key={at}>{formatNumber(value)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function statisticsOf({ columns, line }: Curve): number[] {
  if (columns === null) {
    const values = line.map((point) => point.y).filter(Number.isFinite);
    const sum = values.reduce((total, value) => total + value, 0);
    const ends = [values.at(-1) ?? Number.NaN, Math.min(...values), Math.max(...values)];
    return [...ends, sum / values.length, values.length, 0];
  }
  const finite = (array: Float64Array) => array.filter(Number.isFinite);
  let sum = 0;
  let count = 0;
  let odd = 0;
  for (let at = 0; at < columns.x.length; at++) {
    const n = (columns.count_of[at] as number) - (columns.nonfinite[at] as number);
    odd += columns.nonfinite[at] as number;
    if (n > 0) {
      sum += n * (columns.mean[at] as number);
      count += n;
    }
  }
  const last = columns.last[columns.last.length - 1] ?? Number.NaN;
  return [
    last,
    finite(columns.min).reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY),
    finite(columns.max).reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY),
    sum / count,
    count + odd,
    odd,
  ];
}
