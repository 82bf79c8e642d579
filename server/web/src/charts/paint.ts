// What a chart shows inside its axes, painted with a pen: on a canvas while it is seen, as SVG when it is saved.
import type { Curve, Odd, Point } from "./curve";
import { lowerBound } from "./curve";
import type { Range } from "./scale";

export interface Stroke {
  colour: string;
  width: number;
  alpha: number;
  dash: readonly number[];
}

/** Draws in pixels. */
export interface Pen {
  /** Lines of x, y, x, y …, each in one stroke. */
  lines(lines: readonly number[][], stroke: Stroke): void;
  area(outline: number[], colour: string, alpha: number): void;
}

/** A vertical line: where a run was rewound or resumed. */
export interface Mark {
  x: number;
  colour: string;
  dash: readonly number[];
  owner: string;
  /** What happened, in words. */
  text: string;
}

export interface Picture {
  curves: readonly Curve[];
  marks: readonly Mark[];
  /** The owner of curves that stand out; all others are fainter. */
  highlighted: string | null;
  x: Range;
  /** Places in pixels of values; NaN for one that the axis has no place for. */
  toX: (value: number) => number;
  toY: (value: number) => number;
  /** The upper and the lower edge in pixels, at which values that are not finite are marked. */
  top: number;
  bottom: number;
  /** Pixels of the medium to a pixel of the page. */
  scale: number;
}

/** How wide and high a point is that has no neighbours, in pixels. */
const LONE = 5;
const RAW_ALPHA = 0.25;
const BAND_ALPHA = 0.18;
const AWAY_ALPHA = 0.25;
/** A line of so many times the height of its chart fills it: nobody can tell its dashes apart, and they take longest. */
const FILLS = 20;

/** Paint all of it, what stands out last. */
export function paint(pen: Pen, picture: Picture): void {
  const { curves, highlighted, scale } = picture;
  for (const mark of picture.marks) {
    const x = picture.toX(mark.x);
    const stroke = {
      colour: mark.colour,
      width: scale,
      alpha: 0.7,
      dash: mark.dash.map((each) => each * scale),
    };
    pen.lines([[x, picture.top, x, picture.bottom]], stroke);
  }
  const inFront = (curve: Curve) => curve.owner === highlighted;
  for (const curve of [...curves.filter((one) => !inFront(one)), ...curves.filter(inFront)]) {
    const faded = highlighted !== null && !inFront(curve);
    paintCurve(pen, picture, curve, (faded ? AWAY_ALPHA : 1) * (curve.faint ? 0.45 : 1), inFront(curve));
  }
}

function paintCurve(pen: Pen, picture: Picture, curve: Curve, alpha: number, inFront: boolean): void {
  const { scale } = picture;
  const { colour } = curve;
  if (curve.band !== null) {
    const { x, low, high } = curve.band;
    const outline: number[] = [];
    x.forEach((place, at) => {
      outline.push(picture.toX(place), picture.toY(high[at] as number));
    });
    for (let at = x.length - 1; at >= 0; at--) {
      outline.push(picture.toX(x[at] as number), picture.toY(low[at] as number));
    }
    if (outline.length === 4) {
      // An area over a single place would not be seen.
      const stroke = { colour, width: 5 * scale, alpha: 2 * BAND_ALPHA * alpha, dash: [] };
      if (outline.every(Number.isFinite)) pen.lines([outline], stroke);
    } else if (outline.every(Number.isFinite)) pen.area(outline, colour, BAND_ALPHA * alpha);
  }
  if (curve.raw !== null) {
    const stroke = { colour, width: scale, alpha: RAW_ALPHA * alpha, dash: [] };
    pen.lines(pixels(curve.raw, picture), stroke);
  }
  const pieces = pixels(curve.line, picture);
  const fills = lengthOf(pieces) > FILLS * (picture.bottom - picture.top);
  pen.lines(
    pieces.filter((piece) => piece.length > 2),
    {
      colour,
      width: (inFront ? 2.5 : curve.faint ? 1 : 1.5) * scale,
      alpha,
      dash: fills ? [] : curve.dash.map((length) => length * scale),
    },
  );
  const dots = pieces.filter((piece) => piece.length === 2);
  const half = (LONE / 2) * scale;
  pen.lines(
    dots.map(([x = 0, y = 0]) => [x - half, y, x + half, y]),
    { colour, width: LONE * scale, alpha, dash: [] },
  );
  for (const odd of curve.odd) paintOdd(pen, picture, odd, { colour, width: 1.5 * scale, alpha, dash: [] });
}

/** A cross at the lower edge for NaN, an arrow at the edge to which an infinity points. */
function paintOdd(pen: Pen, picture: Picture, odd: Odd, stroke: Stroke): void {
  const x = picture.toX(odd.x);
  if (!Number.isFinite(x)) return;
  const size = 3.5 * picture.scale;
  if (Number.isNaN(odd.value)) {
    const y = picture.bottom - 1.6 * size;
    const cross = [
      [x - size, y - size, x + size, y + size],
      [x - size, y + size, x + size, y - size],
    ];
    pen.lines(cross, stroke);
    return;
  }
  const up = odd.value > 0;
  const tip = up ? picture.top + size / 2 : picture.bottom - size / 2;
  const foot = up ? tip + 2 * size : tip - 2 * size;
  pen.lines([[x - size, foot, x, tip, x + size, foot]], stroke);
}

/** The pieces of a line within the range of x, and one point more at each end. */
function pixels(line: readonly Point[], { x, toX, toY }: Picture): number[][] {
  const pieces: number[][] = [];
  const places = line.map((point) => point.x);
  const from = Math.max(0, lowerBound(places, x.low) - 1);
  let piece: number[] = [];
  for (let at = from; at < line.length; at++) {
    const point = line[at] as Point;
    const left = toX(point.x);
    const top = toY(point.y);
    if (Number.isFinite(left) && Number.isFinite(top)) piece.push(left, top);
    else if (piece.length > 0) {
      pieces.push(piece);
      piece = [];
    }
    if (point.x > x.high) break;
  }
  if (piece.length > 0) pieces.push(piece);
  return pieces;
}

/** About how long lines are together, in pixels. */
function lengthOf(lines: readonly number[][]): number {
  let length = 0;
  for (const line of lines)
    for (let at = 2; at < line.length; at++)
      // Both coordinates: near enough, and at once.
      length += Math.abs((line[at] as number) - (line[at - 2] as number));
  return length;
}

/** Points of one stroke. */
const PIECE = 16;

/**
 * Stroke a line in pieces: how long a rasterizer takes grows faster than the number of edges that cross a row of pixels.
 * A faint line is `whole`, for where pieces overlap it would be darker.
 */
function strokeLine(context: CanvasRenderingContext2D, line: readonly number[], whole: boolean): void {
  const step = whole ? line.length : 2 * PIECE;
  let length = 0;
  for (let from = 0; from < line.length - 2 || from === 0; from += step) {
    context.lineDashOffset = length;
    context.beginPath();
    let [x, y] = [line[from] as number, line[from + 1] as number];
    context.moveTo(x, y);
    const to = Math.min(line.length, from + step + 2);
    for (let at = from + 2; at < to; at += 2) {
      const [left, top] = [line[at] as number, line[at + 1] as number];
      context.lineTo(left, top);
      length += Math.hypot(left - x, top - y);
      [x, y] = [left, top];
    }
    context.stroke();
  }
  context.lineDashOffset = 0;
}

/** A pen on a canvas. */
export function canvasPen(context: CanvasRenderingContext2D): Pen {
  const trace = (points: readonly number[]) => {
    context.moveTo(points[0] as number, points[1] as number);
    for (let at = 2; at < points.length; at += 2)
      context.lineTo(points[at] as number, points[at + 1] as number);
  };
  return {
    lines(lines, stroke) {
      context.globalAlpha = stroke.alpha;
      context.strokeStyle = stroke.colour;
      context.lineWidth = stroke.width;
      context.lineJoin = "bevel"; // as good as round at this width, and drawn in less time
      context.setLineDash([...stroke.dash]);
      for (const line of lines) strokeLine(context, line, stroke.alpha < 1);
      context.globalAlpha = 1;
    },
    area(outline, colour, alpha) {
      context.globalAlpha = alpha;
      context.fillStyle = colour;
      context.beginPath();
      trace(outline);
      context.closePath();
      context.fill();
      context.globalAlpha = 1;
    },
  };
}

/** A pen that writes elements of SVG. */
export function svgPen(): Pen & { elements: string[] } {
  const elements: string[] = [];
  const path = (points: readonly number[]) => {
    const pairs: string[] = [];
    for (let at = 0; at < points.length; at += 2) {
      pairs.push(`${(points[at] as number).toFixed(2)} ${(points[at + 1] as number).toFixed(2)}`);
    }
    return `M${pairs.join("L")}`;
  };
  return {
    elements,
    lines(lines, stroke) {
      if (lines.length === 0) return;
      const dash = stroke.dash.length > 0 ? ` stroke-dasharray="${stroke.dash.join(" ")}"` : "";
      elements.push(
        `<path d="${lines.map(path).join("")}" fill="none" stroke="${stroke.colour}" ` +
          `stroke-width="${stroke.width}" stroke-opacity="${stroke.alpha}" stroke-linejoin="round"${dash}/>`,
      );
    },
    area(outline, colour, alpha) {
      elements.push(`<path d="${path(outline)}Z" fill="${colour}" fill-opacity="${alpha}"/>`);
    },
  };
}
