// Axes of parallel coordinates: where the values of a column lie, and what has no place on it. Pure functions.
import type { Value } from "../../api";
import { compareNames } from "../../charts/names";
import { floatOf, formatDuration, formatMoment, formatNumber, formatValue, numberOf } from "../../format";

export type Category = string | boolean | number | bigint;

/** Where a value is: on the axis, on the rail of what is no finite number (or category), on that of what is missing. */
export const ON_AXIS = 0;
export const ODD = 1;
export const MISSING = 2;

export interface Axis {
  /** In the notation of queries. */
  name: string;
  label: string;
  kind: "number" | "category";
  /** How its numbers are written. */
  written: "number" | "moment" | "duration";
  log: boolean;
  /** Whether it may be logarithmic: all numbers are above 0. */
  canLog: boolean;
  low: number;
  high: number;
  /** Of integers that floats are too short for: the least and the greatest that lie at the same number. */
  long: ReadonlyMap<number, readonly [least: bigint, greatest: bigint]>;
  /** From the lower end up. */
  categories: readonly Category[];
  /** A number for each row; of a category its place; NaN off the axis. */
  numbers: Float64Array;
  /** ON_AXIS, ODD or MISSING for each row. */
  rails: Uint8Array;
  hasOdd: boolean;
  hasMissing: boolean;
  /** Whether any row has a place on it; and whether all numbers are whole. */
  hasPlaces: boolean;
  isWhole: boolean;
}

/** A range that spans three decades is logarithmic. */
const DECADES = 1_000;
const MOMENTS = new Set(["created", "started", "ended"]);

/** The axis of a column. `log` is the choice of a person, undefined the rule above. */
export function axisOf(name: string, values: readonly Value[], log?: boolean): Axis {
  const known = values.filter((value) => value !== null);
  const numeric = known.filter((value) => numberOf(value) !== null).length;
  const words = known.filter((value) => isWord(value)).length;
  const isNumber = numeric > words || (words === 0 && known.length === numeric);
  const categories = isNumber ? [] : categoriesOf(known);
  const places = new Map(categories.map((category, at) => [category, at]));
  const numbers = new Float64Array(values.length).fill(Number.NaN);
  const rails = new Uint8Array(values.length);
  const long = new Map<number, readonly [bigint, bigint]>();
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  values.forEach((value, row) => {
    const number = isNumber
      ? isWord(value)
        ? Number.NaN
        : (floatOf(value) ?? Number.NaN)
      : (places.get(value as Category) ?? Number.NaN);
    if (value === null) rails[row] = MISSING;
    else if (!Number.isFinite(number)) rails[row] = ODD;
    else {
      numbers[row] = number;
      if (number < low) low = number;
      if (number > high) high = number;
      if (isNumber && typeof value === "bigint") {
        const [least, greatest] = long.get(number) ?? [value, value];
        if (value <= least) long.set(number, [value, greatest]);
        else if (value > greatest) long.set(number, [least, value]);
      }
    }
  });
  const hasPlaces = low <= high;
  if (!hasPlaces) [low, high] = [0, 1];
  const canLog = isNumber && hasPlaces && low > 0;
  return {
    ...{
      name,
      label: labelOf(name),
      kind: isNumber ? "number" : "category",
      categories,
      long,
      numbers,
      rails,
      canLog,
    },
    ...{ low, high, log: canLog && (log ?? high / low >= DECADES) },
    written: MOMENTS.has(name)
      ? "moment"
      : name === "duration" || /^chronos\..*(?<!\.count)$/.test(name)
        ? "duration"
        : "number",
    hasOdd: rails.includes(ODD),
    hasMissing: rails.includes(MISSING),
    hasPlaces,
    isWhole: numbers.every((number) => Number.isNaN(number) || Number.isInteger(number)),
  };
}

/** Whether a value is a text or a boolean; "NaN" and the infinities are numbers. */
function isWord(value: Value): boolean {
  return typeof value === "boolean" || (typeof value === "string" && numberOf(value) === null);
}

/** Numbers first, then booleans, then texts, each in order; lists and maps are no categories. */
function categoriesOf(values: readonly Value[]): Category[] {
  const found = new Set<Category>();
  for (const value of values) {
    if (isWord(value) || Number.isFinite(floatOf(value))) found.add(value as Category);
  }
  const rank = (value: Category) => (typeof value === "string" ? 2 : typeof value === "boolean" ? 1 : 0);
  return [...found].sort(
    (a, b) =>
      rank(a) - rank(b) ||
      (typeof a === "string" ? compareNames(a, b as string) : Number(a > b) - Number(a < b)),
  );
}

/** The name without its root: `lr` of `parameters.lr`. */
export function labelOf(name: string): string {
  const rest = name.replace(/^(parameters|metrics|chronos|tags|metadata)\./, "");
  return rest === "" ? name : rest;
}

/** How far up the axis a number is, from 0 to 1; one value alone is in the middle. */
export function shareOf(axis: Axis, number: number): number {
  const { low, high, log, kind, categories } = axis;
  // Categories have half a place of room at both ends, so that each can be brushed alone.
  if (kind === "category") return (number + 0.5) / Math.max(1, categories.length);
  if (low === high) return 0.5;
  return log
    ? (Math.log(number) - Math.log(low)) / (Math.log(high) - Math.log(low))
    : (number - low) / (high - low);
}

/** The number at a share of the axis, as round as the eye can tell; the ends are exact. */
export function numberAt(axis: Axis, share: number): number {
  const { low, high, log } = axis;
  if (share <= 0) return low;
  if (share >= 1) return high;
  if (log) return Number((low * (high / low) ** share).toPrecision(3));
  const step = 10 ** Math.floor(Math.log10((high - low) / 500 || 1));
  const number = Math.round((low + share * (high - low)) / step) * step;
  return Math.min(high, Math.max(low, Number(number.toPrecision(12))));
}

/** How a number of the axis is written. */
export function writeNumber(axis: Axis, number: number): string {
  if (axis.kind === "category") return formatValue(axis.categories[number] ?? "");
  if (axis.written === "moment") return formatMoment(number);
  if (axis.written === "duration") return formatDuration(number);
  return formatNumber(number, 5);
}

/** Spearman's rank correlation over the rows that have a place on both axes; null where it says nothing. */
export function correlation(one: Axis, other: Axis): number | null {
  if (!isOrdered(one) || !isOrdered(other)) return null;
  const rows: number[] = [];
  for (let row = 0; row < one.numbers.length; row++) {
    if (one.rails[row] === ON_AXIS && other.rails[row] === ON_AXIS) rows.push(row);
  }
  if (rows.length < 3) return null;
  return pearson(
    ranksOf(rows.map((row) => one.numbers[row] as number)),
    ranksOf(rows.map((row) => other.numbers[row] as number)),
  );
}

/** Numbers have an order, and so have false and true. */
const isOrdered = (axis: Axis) =>
  axis.kind === "number" ||
  (axis.categories.length === 2 && axis.categories.every((one) => typeof one === "boolean"));

/** Ranks from 1; equal values share the mean of theirs. */
export function ranksOf(values: readonly number[]): Float64Array {
  const order = Uint32Array.from(values.keys()).sort((a, b) => (values[a] as number) - (values[b] as number));
  const ranks = new Float64Array(values.length);
  for (let from = 0; from < order.length; ) {
    let to = from + 1;
    while (to < order.length && values[order[to] as number] === values[order[from] as number]) to++;
    for (let at = from; at < to; at++) ranks[order[at] as number] = (from + to + 1) / 2;
    from = to;
  }
  return ranks;
}

function pearson(x: Float64Array, y: Float64Array): number | null {
  const mean = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [mx, my] = [mean(x), mean(y)];
  let [xy, xx, yy] = [0, 0, 0];
  for (let at = 0; at < x.length; at++) {
    const [dx, dy] = [(x[at] as number) - mx, (y[at] as number) - my];
    xy += dx * dy;
    xx += dx * dx;
    yy += dy * dy;
  }
  return xx === 0 || yy === 0 ? null : Math.max(-1, Math.min(1, xy / Math.sqrt(xx * yy)));
}
