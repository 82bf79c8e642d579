// From the columns of a series to what is drawn of it. Pure functions.
//
// Of each column the least and the greatest value are known, so a line that touches both draws the same pixels as all
// points would. A smoothed line is made from the means and counts of the columns: with n points in a column,
// s = aⁿ·s + (1 − aⁿ)·mean, divided by the same sum over ones, so that it does not start at 0. With n = 1 this is the
// familiar exponential average, and it does not depend on how many columns there are.
import type { Axis, Columns, Tail } from "../api";

export interface Point {
  x: number;
  y: number;
}

/** Values of a series that are not finite: where, which, and how many there are in that column. */
export interface Odd {
  x: number;
  step: number;
  value: number;
  count: number;
}

export interface Band {
  x: readonly number[];
  low: readonly number[];
  high: readonly number[];
  runs: readonly number[];
}

export interface Curve {
  /** Tells the curve from the others of its chart. */
  key: string;
  /** Whose it is: a run's id, or the name of a group. */
  owner: string;
  label: string;
  /** What is noted of the run; empty for nothing. */
  note: string;
  colour: string;
  dash: readonly number[];
  /** The line; a NaN breaks it. */
  line: readonly Point[];
  /** Behind the line: all points of a smoothed series, fainter. */
  raw: readonly Point[] | null;
  /** Behind the line of a group: an area between two lines on the same x, and how many runs take part there. */
  band: Band | null;
  odd: readonly Odd[];
  columns: Columns | null;
  /** A thinner, fainter line: points that a rewind has superseded. */
  faint: boolean;
}

/** The exponential average over all points, at each column; NaN where a column has no finite value. */
export function smooth({ mean, count_of, nonfinite }: Columns, weight: number): Float64Array {
  return smoothMeans(
    mean,
    count_of.map((count, at) => count - (nonfinite[at] as number)),
    weight,
  );
}

/** The exponential average of points of which the means of some, and how many these are, is known. */
export function smoothMeans(mean: Float64Array, counts: Float64Array, weight: number): Float64Array {
  const smoothed = new Float64Array(mean.length);
  let sum = 0;
  let weights = 0;
  for (let at = 0; at < mean.length; at++) {
    const n = counts[at] as number;
    if (n <= 0) {
      smoothed[at] = Number.NaN;
      continue;
    }
    const past = weight ** n;
    sum = past * sum + (1 - past) * (mean[at] as number);
    weights = past * weights + (1 - past);
    smoothed[at] = sum / weights;
  }
  return smoothed;
}

/** A line through the least, the greatest and the last value of each column. */
export function rawLine(columns: Columns): Point[] {
  const { x, min, max, mean, last } = columns;
  const line: Point[] = [];
  let before = Number.NaN;
  for (let at = 0; at < x.length; at++) {
    const place = x[at] as number;
    const low = min[at] as number;
    const high = max[at] as number;
    if (Number.isNaN(low)) {
      line.push({ x: place, y: Number.NaN });
      before = Number.NaN;
      continue;
    }
    const end = Number.isFinite(last[at]) ? (last[at] as number) : (mean[at] as number);
    if (low === high) line.push({ x: place, y: low });
    else {
      const lowFirst = Number.isNaN(before) || Math.abs(before - low) <= Math.abs(before - high);
      line.push({ x: place, y: lowFirst ? low : high }, { x: place, y: lowFirst ? high : low });
      if (end !== (lowFirst ? high : low)) line.push({ x: place, y: end });
    }
    before = end;
  }
  return line;
}

/** A line of one value per column. */
export function lineOf(x: ArrayLike<number>, y: ArrayLike<number>): Point[] {
  return Array.from(x, (place, at) => ({ x: place, y: y[at] as number }));
}

/** The columns in which values are not finite. */
export function oddOf(columns: Columns): Odd[] {
  const found: Odd[] = [];
  for (let at = 0; at < columns.x.length; at++) {
    const count = columns.nonfinite[at] as number;
    if (count > 0) {
      found.push({
        x: columns.x[at] as number,
        step: columns.step[at] as number,
        value: columns.odd[at] as number,
        count,
      });
    }
  }
  return found;
}

/** The columns with each x replaced by the value of another metric at the same step, interpolated; sorted by it. */
export function onMetric(columns: Columns, other: Columns): Columns {
  const steps = other.step;
  const x = Float64Array.from(columns.step, (step) => interpolate(steps, other.mean, step));
  const order = Array.from(x.keys())
    .filter((at) => Number.isFinite(x[at]))
    .sort((a, b) => (x[a] as number) - (x[b] as number));
  const pick = (array: Float64Array) => Float64Array.from(order, (at) => array[at] as number);
  const picked = Object.fromEntries(ARRAYS.map((name) => [name, pick(columns[name])]));
  return { ...columns, ...picked, x: pick(x) };
}

/** The value at `at` of a function that is known at ascending places; NaN outside of them. */
export function interpolate(places: ArrayLike<number>, values: ArrayLike<number>, at: number): number {
  const end = places.length - 1;
  if (end < 0 || at < (places[0] as number) || at > (places[end] as number)) return Number.NaN;
  const next = lowerBound(places, at);
  const right = places[next] as number;
  if (right === at || next === 0) return values[next] as number;
  const left = places[next - 1] as number;
  const share = (at - left) / (right - left);
  return (values[next - 1] as number) * (1 - share) + (values[next] as number) * share;
}

/** The first index whose item is not below `value`; the length if there is none. */
export function lowerBound(ascending: ArrayLike<number>, value: number): number {
  let low = 0;
  let high = ascending.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((ascending[middle] as number) < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The index of the item nearest to `value`; -1 for none. */
export function nearest(ascending: ArrayLike<number>, value: number): number {
  const next = lowerBound(ascending, value);
  if (next === 0) return ascending.length === 0 ? -1 : 0;
  if (next === ascending.length) return next - 1;
  const before = value - (ascending[next - 1] as number);
  return before <= (ascending[next] as number) - value ? next - 1 : next;
}

const ARRAYS = [
  "x",
  "step",
  "time",
  "last",
  "min",
  "max",
  "mean",
  "count_of",
  "nonfinite",
  "odd",
] as const satisfies readonly (keyof Columns)[];

/**
 * The columns with the newest points of the series behind them, each as a column of its own; null when they cannot be
 * added, because points in between are missing or the series was rewound.
 */
export function withTail(columns: Columns, tail: Tail, axis: Axis): Columns | null {
  if (tail.total < columns.total || tail.start > columns.total) return null;
  const skipped = columns.total - tail.start;
  const added = tail.values.length - skipped;
  if (added < 0 || tail.start + tail.values.length < tail.total) return null;
  if (added === 0) return columns;
  const end = columns.x.length - 1;
  const origin = end < 0 ? 0 : (columns.time[end] as number) - (columns.x[end] as number);
  const value = (at: number) => tail.values[skipped + at] as number;
  const makers: Record<(typeof ARRAYS)[number], (at: number) => number> = {
    x: (at) => {
      const time = tail.times[skipped + at] as number;
      return {
        step: tail.steps[skipped + at] as number,
        time,
        relative: time - origin,
        ordinal: columns.total + at,
      }[axis];
    },
    step: (at) => tail.steps[skipped + at] as number,
    time: (at) => tail.times[skipped + at] as number,
    last: value,
    min: finite(value),
    max: finite(value),
    mean: finite(value),
    count_of: () => 1,
    nonfinite: (at) => (Number.isFinite(value(at)) ? 0 : 1),
    odd: (at) => (Number.isFinite(value(at)) ? 0 : value(at)),
  };
  const grown = Object.fromEntries(
    ARRAYS.map((name) => {
      const array = new Float64Array(columns[name].length + added);
      array.set(columns[name]);
      for (let at = 0; at < added; at++) array[columns[name].length + at] = makers[name](at);
      return [name, array];
    }),
  ) as Pick<Columns, (typeof ARRAYS)[number]>;
  for (let at = end; at >= 0 && at < grown.x.length - 1; at++) {
    // Not in order on this axis: the server knows how to draw it.
    if (!((grown.x[at] as number) <= (grown.x[at + 1] as number))) return null;
  }
  return { ...columns, ...grown, total: tail.total, count: columns.count + added };
}

function finite(value: (at: number) => number): (at: number) => number {
  return (at) => (Number.isFinite(value(at)) ? value(at) : Number.NaN);
}
