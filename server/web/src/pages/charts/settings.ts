// What the page of charts has in the address.
import { SPREADS } from "../../charts/groups";
import type { Range } from "../../charts/scale";
import { type Codec, choice, fieldsOf, flag, json, list, optional, text, useParam } from "../../state";

/** What one chart has set apart from all others. */
export interface Own {
  /** Logarithmic y and x. */
  y?: boolean;
  x?: boolean;
  /** Outliers are left out of the range. */
  clip?: boolean;
  /** The window of y. */
  range?: Range;
  /** Series that were added. */
  more?: readonly string[];
  /** As wide as the page, and higher. */
  big?: boolean;
  /** Its values as a table below. */
  table?: boolean;
}
type Owns = Readonly<Record<string, Own>>;

/** What an address says of a chart, without what makes no sense; null for nothing. */
function readOwn(value: unknown): Own | null {
  const { range, more, ...rest } = fieldsOf(value);
  const flags = (["y", "x", "clip", "big", "table"] as const).filter((key) => typeof rest[key] === "boolean");
  const { low, high } = fieldsOf(range);
  const own: Own = {
    ...Object.fromEntries(flags.map((key) => [key, rest[key]])),
    ...(typeof low === "number" && typeof high === "number" && low < high ? { range: { low, high } } : {}),
    ...(Array.isArray(more) ? { more: more.map(String) } : {}),
  };
  return hasAny(own) ? own : null;
}

const all = json(readOwn);
export const owns: Codec<Owns> = {
  read: all.read,
  write: (value) => all.write(Object.fromEntries(Object.entries(value).filter(([, own]) => hasAny(own)))),
};
const hasAny = (own: Own) => Object.values(own).some((value) => value !== undefined);

/** A chart with one of the settings that all charts have turned round; it keeps only what differs from them. */
export function turned(own: Own, name: "y" | "x" | "clip", all: boolean): Own {
  const { [name]: before = all, ...rest } = own;
  return before === all ? { ...rest, [name]: !all } : rest;
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
export const useSpread = () => useParam("spread", choice(SPREADS, "minmax"));
export const SIZES = ["s", "m", "l"] as const;
export type ChartSize = (typeof SIZES)[number];
export const useSize = () => useParam("size", choice(SIZES, "m"));
/** Sections that were opened or shut by hand. */
export const useFolded = () => useParam("fold", list);
/** Charts that stand first. */
export const usePins = () => useParam("pins", list);
export const useOwn = () => useParam("own", owns);

/** Whether any window is drawn, and how to show all again in every chart. */
export function useResetZoom(): [zoomed: boolean, reset: () => void] {
  const [zoom, setZoom] = useZoom();
  const [own, setOwn] = useOwn();
  const reset = () => {
    setZoom(null);
    setOwn(Object.fromEntries(Object.entries(own).map(([id, { range: _, ...rest }]) => [id, rest])));
  };
  return [zoom !== null || Object.values(own).some(({ range }) => range !== undefined), reset];
}

/** What the address says of each chart, and how to change it: arguments of its card. */
export function useCards(): (id: string) => {
  own: Own;
  setOwn: (own: Own) => void;
  pinned: boolean;
  setPinned: (pinned: boolean) => void;
} {
  const [own, setOwn] = useOwn();
  const [pins, setPins] = usePins();
  return (id) => ({
    own: own[id] ?? NOTHING,
    setOwn: (value) => setOwn({ ...own, [id]: value }),
    pinned: pins.includes(id),
    setPinned: (on) => setPins(on ? [...pins, id] : pins.filter((one) => one !== id)),
  });
}

const NOTHING: Own = {};
