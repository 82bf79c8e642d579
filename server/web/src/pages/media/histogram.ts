// Histograms over steps on common buckets. Pure functions.
import type { Value } from "../../api";
import { floatOf } from "../../format";

export interface Histogram {
  edges: number[];
  counts: number[];
  nan: number;
  /** Values that are infinite, of either sign. */
  infinite: number;
}

/** A histogram from its document; null for what is none. */
export function histogramOf(value: Value): Histogram | null {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return null;
  const { edges, counts } = value;
  if (!Array.isArray(edges) || !Array.isArray(counts)) return null;
  const count = (each: Value | undefined) => floatOf(each) ?? 0;
  return {
    edges: edges.map((edge) => floatOf(edge) ?? Number.NaN),
    counts: counts.map(count),
    nan: count(value.nan),
    infinite: count(value.posinf) + count(value.neginf),
  };
}

export interface Range {
  low: number;
  high: number;
}

/** The range of all histograms. */
export function rangeOf(histograms: readonly Histogram[]): Range {
  const edges = histograms.flatMap(({ edges }) => [edges[0], edges.at(-1)]).filter(isFinite_);
  if (edges.length === 0) return { low: 0, high: 1 };
  const low = Math.min(...edges);
  const high = Math.max(...edges);
  return low < high ? { low, high } : { low: low - 0.5, high: high + 0.5 };
}

const isFinite_ = (value: number | undefined): value is number => Number.isFinite(value);

/** The counts on equal buckets of a range: a bucket that lies across several gives each its share. */
export function rebin({ edges, counts }: Histogram, { low, high }: Range, buckets: number): Float64Array {
  const found = new Float64Array(buckets);
  const width = (high - low) / buckets;
  counts.forEach((count, at) => {
    const left = edges[at] as number;
    const right = edges[at + 1] as number;
    if (count === 0 || !Number.isFinite(left) || !Number.isFinite(right)) return;
    const place = (value: number) => Math.min(buckets - 1, Math.max(0, Math.floor((value - low) / width)));
    if (right <= left) {
      found[place(left)] = (found[place(left)] as number) + count;
      return;
    }
    for (let bucket = place(left); bucket <= place(right); bucket++) {
      const from = Math.max(left, low + bucket * width);
      const to = Math.min(right, low + (bucket + 1) * width);
      if (to > from) found[bucket] = (found[bucket] as number) + (count * (to - from)) / (right - left);
    }
  });
  return found;
}
