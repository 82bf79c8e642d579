// A report: one file with charts and tables of some runs, which opens without a server.
import { type JSX, render } from "preact";
import { useMemo, useState } from "preact/hooks";
import { buildCurves, keysOf } from "../charts/build";
import { Chart } from "../charts/chart";
import { useInSight } from "../charts/insight";
import { type ChartSpec, chartsOf, labelOf } from "../charts/names";
import type { Range } from "../charts/scale";
import { flatten } from "../flat";
import {
  formatCount,
  formatDuration,
  formatMoment,
  formatNumber,
  formatValue,
  numberOf,
  plural,
} from "../format";
import { parseJson, writeJson } from "../json";
import { Markdown } from "../parts/markdown";
import { Status } from "../parts/status";
import { type Run, runOf } from "../runs";
import { showTheme } from "../theme";
import "../style.css";
import "../pages/charts.css";
import "./report.css";
import { useRef } from "preact/hooks";
import { columnsOf, type Report, type ReportRun } from "./data";

const SMOOTHINGS = [0, 0.6, 0.9, 0.97, 0.99] as const;

function App({ report }: { report: Report }): JSX.Element {
  const runs = useMemo(
    () =>
      report.runs.map((run) =>
        runOf(run.id, [
          run.name,
          run.id,
          run.status,
          run.colour,
          null,
          run.started,
          run.started,
          run.ended,
          null,
        ]),
      ),
    [report],
  );
  const columns = useMemo(
    () => new Map(report.series.map((series) => [keyOf(series.run, series.kind, series.name), series])),
    [report],
  );
  const charts = useMemo(() => chartsOf(unique(report.series)), [report]);
  const [smoothing, setSmoothing] = useState(0);
  const [logY, setLogY] = useState(false);
  const [zoom, setZoom] = useState<Range | null>(null);
  const sections = [...new Set(charts.map((chart) => chart.section))];
  return (
    <main class="report">
      <header>
        <h1>{report.title}</h1>
        <p class="hint">
          {plural(runs.length, "run")} of {report.store}, {formatMoment(report.time)}
          {report.left_out > 0 && `; ${formatCount(report.left_out)} more match and are left out`}
        </p>
      </header>
      <RunTable report={report} runs={runs} />
      <div class="report-tools" role="toolbar" aria-label="Charts">
        <label>
          smoothing{" "}
          <select value={smoothing} onChange={(event) => setSmoothing(Number(event.currentTarget.value))}>
            {SMOOTHINGS.map((one) => (
              <option key={one} value={one}>
                {one}
              </option>
            ))}
          </select>
        </label>
        <button type="button" class="button toggle" aria-pressed={logY} onClick={() => setLogY(!logY)}>
          log y
        </button>
        {zoom !== null && (
          <button type="button" class="button" onClick={() => setZoom(null)}>
            Reset the zoom
          </button>
        )}
      </div>
      {sections.map((section) => (
        <section key={section} aria-label={section}>
          <h2>{section}</h2>
          <div class="chart-grid size-m">
            {charts
              .filter((chart) => chart.section === section)
              .map((spec) => (
                <ReportChart
                  key={spec.id}
                  {...{ spec, runs, smoothing, logY, zoom, setZoom }}
                  series={(run, name) => columns.get(keyOf(run, spec.kind, name)) ?? null}
                />
              ))}
          </div>
        </section>
      ))}
      {report.runs.some((run) => run.notes) && <Notes runs={report.runs} />}
    </main>
  );
}

const keyOf = (run: string, kind: string, name: string) => writeJson([run, kind, name]);

function unique(series: readonly { kind: string; name: string }[]): { kind: string; name: string }[] {
  return [...new Map(series.map((one) => [`${one.kind} ${one.name}`, one])).values()];
}

function ReportChart(props: {
  spec: ChartSpec;
  runs: readonly Run[];
  series: (run: string, name: string) => Report["series"][number] | null;
  smoothing: number;
  logY: boolean;
  zoom: Range | null;
  setZoom: (zoom: Range | null) => void;
}): JSX.Element {
  const { spec, runs, smoothing } = props;
  const [zoomY, setZoomY] = useState<Range | null>(null);
  const card = useRef<HTMLElement>(null);
  const seen = useRef(false);
  seen.current ||= useInSight(card);
  const shown = seen.current;
  // biome-ignore lint/correctness/useExhaustiveDependencies: the series of a report never change
  const curves = useMemo(() => {
    if (!shown) return [];
    const keys = keysOf(spec, runs, null, false);
    const series = keys.map(([run, , name]) => {
      const found = props.series(run, name);
      return found === null ? null : columnsOf(found);
    });
    return buildCurves({ spec, runs, keys, series, smoothing, xMetric: null, grouping: null }).curves;
  }, [shown, spec, runs, smoothing]);
  const axis = curves.find((curve) => curve.columns !== null)?.columns?.axis ?? "step";
  return (
    <article ref={card} class="chart-card" aria-label={`Chart ${spec.title}`}>
      <header>
        <h3>{spec.title}</h3>
      </header>
      <div class="chart-body report-chart">
        {curves.length > 0 && (
          <Chart
            curves={curves}
            marks={[]}
            xKind={axis}
            logX={false}
            logY={props.logY}
            clip={false}
            zoom={props.zoom}
            zoomY={zoomY}
            onZoom={(zoom) => {
              if (zoom === null || zoom.x !== undefined) props.setZoom(zoom?.x ?? null);
              if (zoom === null || zoom.y !== undefined) setZoomY(zoom?.y ?? null);
            }}
            link={`report-${axis}`}
            height={230}
            label={`${spec.title} of ${plural(curves.length, "curve")}`}
          />
        )}
      </div>
      {spec.names.length > 1 && (
        <p class="hint chart-foot">
          Line styles: {spec.names.map((name) => labelOf(name, spec) || "no label").join(", ")}
        </p>
      )}
    </article>
  );
}

/** All runs with what differs between them; a click on a heading sorts. */
function RunTable({ report, runs }: { report: Report; runs: readonly Run[] }): JSX.Element {
  const columns = useMemo(() => columnsOfRuns(report.runs), [report]);
  const [order, setOrder] = useState<{ at: number; down: boolean } | null>(null);
  const rows = report.runs.map((run, at) => ({
    run: runs[at] as Run,
    cells: columns.map((one) => one.of(run)),
  }));
  if (order !== null) rows.sort((a, b) => compare(a.cells[order.at], b.cells[order.at], order.down));
  return (
    <div class="fact-table">
      <table aria-label="Runs">
        <thead>
          <tr>
            <th scope="col">run</th>
            {columns.map(({ name }, at) => {
              const sorted = order?.at === at ? (order.down ? "descending" : "ascending") : "none";
              return (
                <th key={name} scope="col" aria-sort={sorted}>
                  <button
                    type="button"
                    class="link-plain"
                    onClick={() => setOrder({ at, down: order?.at === at ? !order.down : false })}
                  >
                    {name} {sorted === "none" ? "" : sorted === "ascending" ? "↑" : "↓"}
                  </button>
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ run, cells }) => (
            <tr key={run.id}>
              <th scope="row">
                <i class="swatch" style={{ background: run.colour }} /> {run.name}
              </th>
              {cells.map((cell, at) => (
                <td key={columns[at]?.name}>{cellOf(columns[at]?.name ?? "", cell)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

type Cell = string | number | bigint | null;

function cellOf(name: string, cell: Cell | undefined): JSX.Element | string {
  if (name === "status") return <Status status={String(cell)} />;
  if (cell === null || cell === undefined) return "";
  if (name === "duration") return formatDuration(Number(cell));
  return typeof cell === "string" ? cell : formatNumber(cell);
}

/** Numbers, then NaN, then texts, then what is missing, in both directions. */
function compare(a: Cell | undefined, b: Cell | undefined, down: boolean): number {
  const rank = (cell: Cell | undefined) =>
    cell === null || cell === undefined
      ? 3
      : typeof cell === "string"
        ? 2
        : Number.isNaN(Number(cell))
          ? 1
          : 0;
  const byRank = rank(a) - rank(b);
  if (byRank !== 0 || rank(a) === 1 || rank(a) === 3) return byRank;
  const by = (a as string | number) < (b as string | number) ? -1 : a === b ? 0 : 1;
  return down ? -by : by;
}

function columnsOfRuns(runs: readonly ReportRun[]): { name: string; of: (run: ReportRun) => Cell }[] {
  const flat = new Map(runs.map((run) => [run.id, new Map(flattened(run))]));
  const names = [...new Set([...flat.values()].flatMap((values) => [...values.keys()]))];
  const differing = names.filter((name) => {
    const values = runs.map((run) => writeJson(flat.get(run.id)?.get(name) ?? null));
    return runs.length === 1 || new Set(values).size > 1;
  });
  const metrics = [...new Set(runs.flatMap((run) => Object.keys(run.metrics)))];
  return [
    { name: "status", of: (run) => run.status },
    {
      name: "duration",
      of: (run) => (run.started === null || run.ended === null ? null : run.ended - run.started),
    },
    ...differing.map((name) => ({ name, of: (run: ReportRun) => flat.get(run.id)?.get(name) ?? null })),
    ...metrics.flatMap((name) =>
      ["last", "min", "max"].map((statistic) => ({
        name: `${name} ${statistic}`,
        of: (run: ReportRun) => numberOf(run.metrics[name]?.[statistic]) ?? null,
      })),
    ),
  ];
}

function flattened(run: ReportRun): [string, Cell][] {
  return [...flatten(run.parameters), ...flatten(run.tags)].map(({ name, value }) => [
    name,
    typeof value === "number" || typeof value === "bigint" ? value : formatValue(value),
  ]);
}

function Notes({ runs }: { runs: readonly ReportRun[] }): JSX.Element {
  return (
    <section aria-label="Notes">
      <h2>Notes</h2>
      {runs
        .filter((run) => run.notes)
        .map((run) => (
          <article key={run.id} class="report-note">
            <h3>{run.name}</h3>
            <Markdown text={run.notes ?? ""} />
          </article>
        ))}
    </section>
  );
}

const dark = window.matchMedia("(prefers-color-scheme: dark)");
const follow = () => showTheme(dark.matches);
follow();
dark.addEventListener("change", follow);
// Paper is white.
window.addEventListener("beforeprint", () => showTheme(false));
window.addEventListener("afterprint", follow);
const data = document.getElementById("report-data")?.textContent;
const root = document.getElementById("report");
if (root !== null && data) render(<App report={parseJson(data)} />, root);
