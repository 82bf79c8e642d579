// Ticks of an axis and the texts beside them. Pure functions.
import type { Axis } from "../api";
import { formatCount, formatDuration, formatMoment, formatNumber } from "../format";
import { type Range, ticks, timeTicks } from "./scale";

/** What x is: an axis of the server, or another metric. */
export type XKind = Axis | "metric";

export const X_LABELS: Record<XKind, string> = {
  step: "step",
  time: "wall time",
  relative: "time since the start",
  ordinal: "number of the point",
  metric: "metric",
};

/** Ticks of an axis of x, about `count`. */
export function xTicks(kind: XKind, range: Range, count: number, log: boolean): number[] {
  if (log) return ticks(range, count, true);
  if (kind === "time") return timeTicks(range, count, true);
  if (kind === "relative") return timeTicks(range, count, false);
  return ticks(range, count).filter(
    (tick) =>
      Number.isInteger(tick) || kind === "metric" || (kind !== "ordinal" && range.high - range.low < 1),
  );
}

/** The texts of the ticks of an axis of x. */
export function xTexts(kind: XKind, places: readonly number[]): string[] {
  if (kind === "time") return timeTexts(places);
  if (kind === "relative") {
    const isShort = places.every((place) => Math.abs(place) < 10);
    return isShort ? shortTexts(places).map((text) => `${text} s`) : places.map(formatDuration);
  }
  return shortTexts(places);
}

/** Numbers as short as they can be told apart: 20k, 1.5M. */
export function shortTexts(places: readonly number[]): string[] {
  const largest = Math.max(0, ...places.map(Math.abs));
  // A few digits that change behind many that do not: all of them, or else every tick would have one text.
  const digits = Math.max(
    1,
    ...places.slice(1).map((place, at) => digitsBetween(places[at] as number, place)),
  );
  if (digits > 6 && largest < 1e15) return places.map((place) => formatNumber(place, Math.min(digits, 15)));
  if (largest >= 1e15 || (largest > 0 && largest < 1e-4)) {
    return places.map((place) => (place === 0 ? "0" : formatNumber(place, Math.max(3, digits))));
  }
  const least = Math.min(...places.filter((place) => place !== 0).map(Math.abs));
  // Over several powers of ten each has a unit of its own.
  const common = largest / least < 1_000 ? unitOf(largest) : null;
  return places.map((place) => {
    if (place === 0) return "0";
    const [size, unit] = common ?? unitOf(Math.abs(place));
    return `${formatNumber(place / size, 6)}${unit}`;
  });
}

function unitOf(value: number): [size: number, unit: string] {
  if (value >= 1e9) return [1e9, "G"];
  if (value >= 1e6) return [1e6, "M"];
  return value >= 1e4 ? [1e3, "k"] : [1, ""];
}

/** Significant digits by which two numbers can be told apart. */
function digitsBetween(a: number, b: number): number {
  return a === b ? 1 : Math.ceil(Math.log10(Math.max(Math.abs(a), Math.abs(b)) / Math.abs(b - a))) + 1;
}

function timeTexts(places: readonly number[]): string[] {
  const gap = places.length > 1 ? (places[1] as number) - (places[0] as number) : 3_600;
  return places.map((place, at) => {
    const [day = "", clock = ""] = formatMoment(place).split(" ");
    if (gap >= 86_400) return day.slice(5);
    if (gap < 0.999) {
      const digits = Math.min(6, Math.ceil(-Math.log10(gap) - 1e-6));
      // Very near to each other, the seconds alone have room.
      return clock.slice(digits > 2 ? 6 : 0) + (place - Math.floor(place)).toFixed(digits).slice(1);
    }
    const text = gap < 60 ? clock : clock.slice(0, 5);
    const isNewDay = at > 0 && formatMoment(places[at - 1] as number).slice(0, 10) !== day;
    return isNewDay ? day.slice(5) : text;
  });
}

/** A place on the axis of x in full. */
export function xText(kind: XKind, place: number): string {
  if (kind === "time") return formatMoment(place);
  if (kind === "relative") return formatDuration(place);
  return Number.isInteger(place) ? formatCount(place) : formatNumber(place, 8);
}
