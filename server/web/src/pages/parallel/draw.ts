// Drawing of many lines without holding up the page: in slices of some milliseconds, on a canvas that is not seen.
import { BUCKETS } from "./colours";

/** Where lines run: a height for each row and axis, row by row. */
export interface Lines {
  rows: number;
  xs: readonly number[];
  ys: Float32Array;
}

const SLICE_MS = 12;
/** So many lines are many. */
const MANY = 500;
/** Lines of one path: long paths are slow, and many short ones, too. */
const IN_PATH = 24;

/** Rows by bucket, the best last, so that they lie above the others. */
export function drawingOrder(
  buckets: Uint8Array,
  shown: Uint8Array | null,
  greaterLast: boolean,
): Uint32Array {
  const counts = new Uint32Array(BUCKETS + 2);
  const place = (row: number) => {
    const bucket = buckets[row] as number;
    // What has no colour lies below all others.
    if (bucket === BUCKETS) return 0;
    return 1 + (greaterLast ? bucket : BUCKETS - 1 - bucket);
  };
  for (let row = 0; row < buckets.length; row++) {
    if (shown === null || shown[row] === 1) (counts[place(row) + 1] as number)++;
  }
  for (let at = 1; at < counts.length; at++) (counts[at] as number) += counts[at - 1] as number;
  const order = new Uint32Array(counts[counts.length - 1] as number);
  const next = counts.slice();
  for (let row = 0; row < buckets.length; row++) {
    if (shown === null || shown[row] === 1) {
      const to = place(row);
      order[next[to] as number] = row;
      (next[to] as number)++;
    }
  }
  return order;
}

/**
 * How wide lines are, in pixels of the page. Of many they are one pixel of the screen: a browser draws these ten
 * times as fast as wider ones.
 */
export function widthOf(count: number, scale: number): number {
  return count > MANY ? 1 / scale : 1.4;
}

/** How opaque one of so many lines is. */
export function opacityOf(count: number): number {
  return Math.max(0.12, Math.min(0.85, 14 / Math.sqrt(Math.max(1, count))));
}

/**
 * Draw lines in the order of `order`; `done` is called after the last one. Answers a function that stops it.
 */
export function drawInSlices(
  context: CanvasRenderingContext2D,
  lines: Lines,
  order: Uint32Array,
  style: { colours: readonly string[]; buckets: Uint8Array; opacity: number; width: number },
  done: () => void,
): () => void {
  const channel = new MessageChannel();
  let at = 0;
  let stopped = false;
  const slice = () => {
    if (stopped) return;
    const end = performance.now() + SLICE_MS;
    context.lineWidth = style.width;
    context.lineJoin = "bevel";
    context.globalAlpha = style.opacity;
    while (at < order.length && performance.now() < end) at = drawPath(context, lines, order, style, at);
    if (at < order.length) channel.port2.postMessage(null);
    else {
      channel.port1.close();
      done();
    }
  };
  channel.port1.onmessage = slice;
  // The first slice is not awaited: few lines are there at once.
  slice();
  return () => {
    stopped = true;
    channel.port1.close();
  };
}

function drawPath(
  context: CanvasRenderingContext2D,
  lines: Lines,
  order: Uint32Array,
  style: { colours: readonly string[]; buckets: Uint8Array },
  from: number,
): number {
  const { xs, ys } = lines;
  const bucket = style.buckets[order[from] as number] as number;
  let at = from;
  context.beginPath();
  for (; at < order.length && at < from + IN_PATH; at++) {
    const row = order[at] as number;
    if (style.buckets[row] !== bucket) break;
    const first = row * xs.length;
    context.moveTo(xs[0] as number, ys[first] as number);
    for (let axis = 1; axis < xs.length; axis++)
      context.lineTo(xs[axis] as number, ys[first + axis] as number);
  }
  context.strokeStyle = style.colours[bucket] as string;
  context.stroke();
  return at;
}

/** The line nearest to a point, within `reach` pixels; of `shown` ones only. */
export function lineAt(lines: Lines, shown: Uint8Array, x: number, y: number, reach: number): number | null {
  const { xs, ys, rows } = lines;
  const right = xs.findIndex((each) => each >= x);
  if (xs.length < 2 || right < 0) return null;
  const after = Math.max(1, right);
  const [x0, x1] = [xs[after - 1] as number, xs[after] as number];
  const share = Math.max(0, Math.min(1, (x - x0) / (x1 - x0)));
  let best: number | null = null;
  let nearest = reach;
  for (let row = 0; row < rows; row++) {
    if (shown[row] === 0) continue;
    const from = ys[row * xs.length + after - 1] as number;
    const to = ys[row * xs.length + after] as number;
    // The distance to a steep line is shorter than the one straight up.
    const slope = (to - from) / (x1 - x0);
    const distance = Math.abs(from + share * (to - from) - y) / Math.sqrt(1 + slope * slope);
    if (distance < nearest) {
      nearest = distance;
      best = row;
    }
  }
  return best;
}
