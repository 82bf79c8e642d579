// What the page of charts has in the address.
import { SPREADS, type Spread } from "../../charts/groups";
import type { Range } from "../../charts/scale";
import { type Codec, choice, flag, json, list, optional, text, useParam } from "../../state";

/** What one chart has set apart from all others. */
export interface Own {
  /** Logarithmic y and x. */
  y?: boolean;
  x?: boolean;
  /** Outliers are left out of the range. */
  clip?: boolean;
  /** Series that were added. */
  more?: string[];
  /** As wide as the page, and higher. */
  big?: boolean;
  /** Its values as a table below. */
  table?: boolean;
}

const zoom: Codec<Range | null> = {
  read: (raw) => {
    const [low, high] = (raw ?? "").split(",").map((part) => (part === "" ? Number.NaN : Number(part)));
    return low !== undefined && high !== undefined && low < high ? { low, high } : null;
  },
  write: (value) => (value === null ? null : `${value.low},${value.high}`),
};

export const useZoom = () => useParam("zoom", zoom);
/** A regular expression that charts are looked for by. */
export const useFind = () => useParam("find", text());
/** The metric that x is; null for an axis of its own. */
export const useXMetric = () => useParam("xm", optional);
export const useLogX = () => useParam("logx", flag);
export const useLogY = () => useParam("logy", flag);
export const useClip = () => useParam("clip", flag);
export const useSuperseded = () => useParam("old", flag);
/** The attribute by which runs are grouped. */
export const useGroupBy = () => useParam("by", optional);
export const useMiddle = () => useParam("mid", choice(["mean", "median"] as const, "mean"));
export const useSpread = () => useParam<Spread>("spread", choice(SPREADS, "minmax"));
export const useSize = () => useParam("size", choice(["s", "m", "l"] as const, "m"));
/** Sections that were opened or shut by hand. */
export const useFolded = () => useParam("fold", list);
/** Charts that stand first. */
export const usePins = () => useParam("pins", list);
export const useOwn = () => useParam("own", json<Record<string, Own>>({}));
