// Ranges and ticks of axes. Pure functions.
import type { Curve } from "./curve";

export interface Range {
  low: number;
  high: number;
}

export interface Scaled extends Range {
  /** Values that lie outside of a chosen range, or because outliers are clipped: above and below. */
  above: number;
  below: number;
  /** Values that a logarithmic axis has no place for: 0 and less. */
  notPositive: number;
}

/** The share of values at each end that clipping leaves out. */
const OUTSIDE = 0.02;

/** The range of y that shows all curves within a range of x, or all but outliers; or one that was chosen. */
export function rangeOfY(
  curves: readonly Curve[],
  x: Range,
  log: boolean,
  clip: boolean,
  chosen: Range | null = null,
): Scaled {
  const values: number[] = [];
  let notPositive = 0;
  const add = (place: number, value: number) => {
    if (place < x.low || place > x.high || !Number.isFinite(value)) return;
    if (log && value <= 0) notPositive += 1;
    else values.push(value);
  };
  for (const curve of curves) {
    for (const point of curve.raw ?? curve.line) add(point.x, point.y);
    const { band } = curve;
    band?.x.forEach((place, at) => {
      add(place, band.low[at] as number);
      add(place, band.high[at] as number);
    });
  }
  // What was chosen on a linear axis may have no place on a logarithmic one.
  const range = chosen !== null && !(log && chosen.low <= 0) ? chosen : rangeOfValues(values, log, clip);
  const outside = (isOutside: (value: number) => boolean) =>
    clip || chosen !== null ? values.filter(isOutside).length : 0;
  return {
    ...range,
    above: outside((value) => value > range.high),
    below: outside((value) => value < range.low),
    notPositive,
  };
}

function rangeOfValues(values: number[], log: boolean, clip: boolean): Range {
  if (values.length === 0) return log ? { low: 0.1, high: 10 } : { low: 0, high: 1 };
  values.sort((a, b) => a - b);
  const at = clip ? Math.floor(values.length * OUTSIDE) : 0;
  return pad({ low: values[at] as number, high: values[values.length - 1 - at] as number }, log);
}

/** A little room around a range, so that a curve does not lie on the frame; a constant is in the middle. */
function pad({ low, high }: Range, log: boolean): Range {
  if (log) {
    const share = high > low ? (high / low) ** 0.06 : 2;
    return { low: low / share, high: high * share };
  }
  const room = high > low ? (high - low) * 0.06 : Math.abs(high) * 0.1 || 1;
  return { low: low - room, high: high + room };
}

/** The range of x of all curves. */
export function rangeOfX(curves: readonly Curve[], log: boolean): Range {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  const add = (x: number) => {
    if (!Number.isFinite(x) || (log && x <= 0)) return;
    if (x < low) low = x;
    if (x > high) high = x;
  };
  for (const curve of curves) {
    for (const point of curve.raw ?? curve.line) add(point.x);
    for (const odd of curve.odd) add(odd.x);
  }
  if (low > high) return log ? { low: 1, high: 10 } : { low: 0, high: 1 };
  if (low === high) return log ? { low: low / 2, high: high * 2 } : { low: low - 0.5, high: high + 0.5 };
  return { low, high };
}

/** Round places within a range, about `count` of them. */
export function ticks({ low, high }: Range, count: number, log = false): number[] {
  if (log) return logTicks({ low, high }, count);
  const step = niceStep((high - low) / Math.max(1, count));
  return multiples({ low, high }, step);
}

/** The least of 1, 2, 5, 10, 20 … that is not below `wanted`. */
function niceStep(wanted: number): number {
  const power = 10 ** Math.floor(Math.log10(wanted));
  const factor = [1, 2, 5, 10].find((one) => one * power >= wanted * 0.999) ?? 10;
  return factor * power;
}

function multiples({ low, high }: Range, step: number, offset = 0): number[] {
  if (!(step > 0)) return [];
  const first = Math.ceil((low - offset) / step - 1e-9);
  const last = Math.floor((high - offset) / step + 1e-9);
  // Through the quotient, so that 3 × 0.1 is 0.3.
  const places = Array.from({ length: Math.max(0, Math.min(last - first + 1, 1000)) }, (_, at) =>
    Number((offset + (first + at) * step).toPrecision(15)),
  );
  // Numbers that are large beside their range have no more places than that.
  return [...new Set(places)];
}

function logTicks({ low, high }: Range, count: number): number[] {
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const every = Math.max(1, Math.ceil((last - first) / Math.max(1, count)));
  const factors = last - first <= 2 ? [1, 2, 5] : [1];
  const found: number[] = [];
  for (let power = first; power <= last; power++) {
    if (power % every !== 0) continue;
    for (const factor of factors) {
      const tick = Number(`${factor}e${power}`);
      if (tick >= low * 0.999999 && tick <= high * 1.000001) found.push(tick);
    }
  }
  return found.length > 1 ? found : ticks({ low, high }, count).filter((tick) => tick > 0);
}

const SECONDS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 172_800,
  604_800, 1_209_600, 2_592_000, 7_776_000, 31_536_000,
];

/** Round moments (s since the epoch, in local time) or durations (s) within a range, about `count` of them. */
export function timeTicks(range: Range, count: number, local: boolean): number[] {
  const wanted = (range.high - range.low) / Math.max(1, count);
  if (wanted < 0.999) return ticks(range, count);
  const step = SECONDS.find((one) => one >= wanted) ?? niceStep(wanted);
  const offset = local ? new Date(range.low * 1000).getTimezoneOffset() * 60 : 0;
  return multiples(range, step, offset);
}
