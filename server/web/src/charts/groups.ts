// Curves of several runs as one: on a common grid, the middle, a band around it, and how many runs take part. Pure.
// The server sums up any number of runs; where x is another metric, which it has no axis for, the drawn ones are merged.
import type { GroupedColumns } from "../api";
import { interpolate, type Point, smoothMeans } from "./curve";

export type Middle = "mean" | "median";
export const SPREADS = ["minmax", "sd", "se", "ci", "none"] as const;
export type Spread = (typeof SPREADS)[number];
export const SPREAD_NAMES: Record<Spread, string> = {
  minmax: "min to max",
  sd: "± standard deviation",
  se: "± standard error",
  ci: "95 % confidence",
  none: "no band",
};

export interface Merged {
  x: number[];
  middle: number[];
  low: number[];
  high: number[];
  /** Runs that have a value there. */
  runs: number[];
}

const GRID = 300;

/** A group that the server has summed up; smoothing is of the middle, the least and greatest values stay in sight. */
export function mergedOf(group: GroupedColumns, middle: Middle, spread: Spread, smoothing: number): Merged {
  const counts = group.count_of.map((count, at) => count / (group.runs[at] as number));
  const exact = group[middle];
  const centre = smoothing > 0 ? smoothMeans(exact, counts, smoothing) : exact;
  const around = (sign: number) => {
    if (spread === "minmax") return Array.from(sign < 0 ? group.min : group.max);
    return Array.from(centre, (value, at) => {
      return value + sign * halfOf(spread, group.sd[at] as number, group.runs[at] as number);
    });
  };
  return {
    x: Array.from(group.x),
    middle: Array.from(centre),
    low: around(-1),
    high: around(1),
    runs: Array.from(group.runs),
  };
}

/** Merge lines: each is interpolated within its own extent, so a run that ended earlier takes no part behind its end. */
export function merge(lines: readonly (readonly Point[])[], middle: Middle, spread: Spread): Merged {
  const known = lines.map((line) => line.filter((point) => Number.isFinite(point.y)));
  const places = known.map((line) => line.map((point) => point.x));
  const values = known.map((line) => line.map((point) => point.y));
  const merged: Merged = { x: [], middle: [], low: [], high: [], runs: [] };
  for (const x of gridOf(places)) {
    const there = places
      .map((place, at) => interpolate(place, values[at] as number[], x))
      .filter(Number.isFinite);
    if (there.length === 0) continue;
    const { centre, low, high } = summarise(there, middle, spread);
    merged.x.push(x);
    merged.middle.push(centre);
    merged.low.push(low);
    merged.high.push(high);
    merged.runs.push(there.length);
  }
  return merged;
}

/** The places at which any line has a point, thinned to a grid when they are many. */
function gridOf(places: readonly (readonly number[])[]): number[] {
  const all = [...new Set(places.flat())].sort((a, b) => a - b);
  if (all.length <= GRID) return all;
  const low = all[0] as number;
  const high = all[all.length - 1] as number;
  return Array.from({ length: GRID }, (_, at) => low + ((high - low) * at) / (GRID - 1));
}

/** The middle of some numbers and the band around it. */
export function summarise(
  numbers: readonly number[],
  middle: Middle,
  spread: Spread,
): { centre: number; low: number; high: number } {
  const n = numbers.length;
  const mean = numbers.reduce((sum, value) => sum + value, 0) / n;
  const centre = middle === "mean" ? mean : median(numbers);
  if (spread === "minmax") return { centre, low: Math.min(...numbers), high: Math.max(...numbers) };
  // Of a sample: one run alone says nothing about the spread.
  const variance = n < 2 ? 0 : numbers.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  const half = halfOf(spread, Math.sqrt(variance), n);
  return { centre, low: centre - half, high: centre + half };
}

/** Half of a band, from the standard deviation of `n` values. */
function halfOf(spread: Spread, sd: number, n: number): number {
  if (spread === "none" || n < 2) return 0;
  if (spread === "sd") return sd;
  return ((spread === "ci" ? studentOf(n - 1) : 1) * sd) / Math.sqrt(n);
}

/** Student's t for 95 %: few seeds say less of the mean than a normal distribution would have it. */
function studentOf(freedom: number): number {
  const z = 1.959964;
  const small = [12.7062, 4.30265, 3.18245, 2.77645, 2.57058][freedom - 1];
  return (
    small ?? z + (z ** 3 + z) / (4 * freedom) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * freedom * freedom)
  );
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] as number) + upper) / 2;
}
