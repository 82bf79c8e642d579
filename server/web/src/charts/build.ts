// The curves of one chart, from its runs and the columns of their series. Pure functions.
import {
  type Columns,
  type Damaged,
  type GroupedColumns,
  isWhole,
  type Query,
  type SeriesKey,
  type Value,
} from "../api";
import { formatValue } from "../format";
import type { Run } from "../runs";
import { DASHES, PALETTE } from "../theme";
import { type Curve, lineOf, type Odd, oddOf, onMetric, rawLine, smooth } from "./curve";
import { type Merged, type Middle, merge, mergedOf, type Spread } from "./groups";
import { type ChartSpec, compareNames, labelOf } from "./names";

export interface Grouping {
  /** The attribute by which runs are grouped, and what selects those runs. */
  by: string;
  query: Query;
  /** How many runs it selects. */
  total: number;
  /** Of a drawn run, the group in which it is; known where x is another metric. */
  of: (run: Run) => string;
  /** The colour of each group, the same in all charts. */
  colours: ReadonlyMap<string, string>;
  middle: Middle;
  spread: Spread;
}

export interface Wanted {
  spec: ChartSpec;
  runs: readonly Run[];
  keys: readonly SeriesKey[];
  series: readonly (Columns | Damaged | null)[];
  /** The weight of the past, 0 for none. */
  smoothing: number;
  /** The metric that x is; null for an axis of the server. */
  xMetric: string | null;
  grouping: Grouping | null;
}

/** The series to fetch for a chart: those of the metric that x is come last. */
export function keysOf(
  spec: ChartSpec,
  runs: readonly Run[],
  xMetric: string | null,
  superseded: boolean,
): SeriesKey[] {
  const kinds = superseded && spec.kind === "metric" ? ["superseded", spec.kind] : [spec.kind];
  const keys = runs.flatMap((run) =>
    kinds.flatMap((kind) => spec.names.map((name): SeriesKey => [run.id, kind, name])),
  );
  return xMetric === null ? keys : [...keys, ...runs.map((run): SeriesKey => [run.id, "metric", xMetric])];
}

/** The curves, and what could not be read. */
export function buildCurves(wanted: Wanted): { curves: Curve[]; faults: string[] } {
  const { spec, runs, keys, series, smoothing, xMetric, grouping } = wanted;
  const byId = new Map(runs.map((run) => [run.id, run]));
  const faults: string[] = [];
  const places = new Map<string, Columns>();
  const drawn = xMetric === null ? keys.length : keys.length - runs.length;
  for (let at = drawn; at < keys.length; at++) {
    const found = series[at] ?? null;
    if (isWhole(found)) places.set((keys[at] as SeriesKey)[0], found);
  }
  const found: { curve: Curve; run: Run; name: string }[] = [];
  for (let at = 0; at < drawn; at++) {
    const [trial, kind, name] = keys[at] as SeriesKey;
    const run = byId.get(trial);
    const one = series[at] ?? null;
    if (run === undefined || one === null) continue;
    if (!isWhole(one)) {
      faults.push(`${run.name}: ${one.error}`);
      continue;
    }
    let columns: Columns = one;
    if (xMetric !== null) {
      const other = places.get(trial);
      if (other === undefined) continue;
      columns = onMetric(one, other);
    }
    if (columns.x.length > 0)
      found.push({ curve: curveOf(spec, run, kind, name, columns, smoothing), run, name });
  }
  if (grouping === null) return { curves: found.map(({ curve }) => curve), faults };
  return { curves: merged(found, spec, grouping), faults };
}

function curveOf(
  spec: ChartSpec,
  run: Run,
  kind: string,
  name: string,
  columns: Columns,
  smoothing: number,
): Curve {
  const faint = kind === "superseded" && spec.kind !== "superseded";
  const label = labelOf(name, spec);
  const several = spec.names.length > 1;
  const smoothed = smoothing > 0 && !faint;
  return {
    key: `${run.id} ${kind} ${name}`,
    owner: run.id,
    note: run.note,
    label: [run.name, several ? label : "", faint ? "superseded" : ""]
      .filter((part) => part !== "")
      .join(" · "),
    colour: run.colour,
    // Of several metrics the dash tells which, as the colour tells the run.
    dash: several ? (DASHES[spec.names.indexOf(name) % DASHES.length] ?? []) : run.dash,
    line: smoothed ? lineOf(columns.x, smooth(columns, smoothing)) : rawLine(columns),
    raw: smoothed ? rawLine(columns) : null,
    band: null,
    odd: oddOf(columns),
    columns,
    faint,
  };
}

/** Neighbours in the palette, not by a hash: groups are few, and have to be told apart. */
export function coloursOf(groups: Iterable<string>): Map<string, string> {
  const names = [...new Set(groups)].sort(compareNames);
  return new Map(names.map((name, at) => [name, PALETTE[at % PALETTE.length] as string]));
}

/** The name of the group of a value. */
export function groupOf(by: string, value: Value | undefined): string {
  if (value === undefined || value === null) return "";
  return `${by.slice(by.indexOf(".") + 1)} ${formatValue(value)}`;
}

/** The curves of groups that the server has summed up, an answer for each series of a chart. */
export function buildGroups(
  spec: ChartSpec,
  answers: readonly (readonly (GroupedColumns | Damaged)[])[],
  grouping: Grouping,
  smoothing: number,
): { curves: Curve[]; faults: string[] } {
  const all = answers.flatMap((groups, at) => groups.map((group) => ({ group, name: spec.names[at] ?? "" })));
  const faults = all.flatMap(({ group }) => ("error" in group ? [group.error] : []));
  const curves = all.flatMap(({ group, name }) => {
    if ("error" in group) return [];
    const { series, left_out, odd } = group;
    const others = left_out > 0 ? `, and ${left_out} without such an x` : "";
    return groupCurve(
      ...([spec, grouping, groupOf(grouping.by, group.by[0]), name] as const),
      `${series} ${series === 1 ? "run" : "runs"}${others}`,
      mergedOf(group, grouping.middle, grouping.spread, smoothing),
      odd.map(([x, step, value, count]) => ({ x, step: Number(step), value: Number(value), count })),
    );
  });
  return { curves, faults };
}

/** The curve of a group. */
function groupCurve(
  spec: ChartSpec,
  grouping: Grouping,
  group: string,
  name: string,
  count: string,
  { x, middle, low, high, runs }: Merged,
  odd: Odd[],
): Curve {
  const several = spec.names.length > 1;
  return {
    key: `${group}\n${name}`,
    owner: group,
    note: "",
    label: [group === "" ? "(none)" : group, several ? labelOf(name, spec) : "", count]
      .filter((part) => part !== "")
      .join(" · "),
    colour: grouping.colours.get(group) ?? (PALETTE[0] as string),
    dash: several ? (DASHES[spec.names.indexOf(name) % DASHES.length] ?? []) : [],
    line: lineOf(x, middle),
    raw: null,
    band: { x, low, high, runs },
    odd,
    columns: null,
    faint: false,
  };
}

/** One curve for each group of runs and series. */
function merged(
  found: readonly { curve: Curve; run: Run; name: string }[],
  spec: ChartSpec,
  grouping: Grouping,
): Curve[] {
  const groups = new Map<string, { group: string; name: string; curves: Curve[] }>();
  for (const { curve, run, name } of found) {
    if (curve.faint) continue;
    const group = grouping.of(run);
    const key = `${group}\n${name}`;
    const known = groups.get(key) ?? { group, name, curves: [] };
    known.curves.push(curve);
    groups.set(key, known);
  }
  return [...groups.values()].map(({ group, name, curves }) => {
    const lines = curves.map(({ columns, raw, line }) =>
      raw === null && columns !== null ? lineOf(columns.x, columns.mean) : line,
    );
    return groupCurve(
      ...([spec, grouping, group, name] as const),
      `${curves.length} ${curves.length === 1 ? "run" : "runs"}`,
      merge(lines, grouping.middle, grouping.spread),
      curves.flatMap((curve) => [...curve.odd]),
    );
  });
}
