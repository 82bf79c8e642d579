// Charts as files: CSV of what is seen and of all points, SVG, PNG.
import { ApiError, call, type Methods, type SeriesKey, type Value } from "../api";
import { numberOf } from "../format";
import { writeJson } from "../json";
import { cssColour } from "../theme";
import type { Curve } from "./curve";
import { shortTexts, X_LABELS, type XKind, xTexts, xTicks } from "./labels";
import { type Mark, paint, svgPen } from "./paint";
import { type Range, ticks } from "./scale";

export type Field = string | number | bigint;

/** A field of CSV; a text that a spreadsheet would take for a formula begins with an apostrophe. */
export function csvField(value: Field): string {
  if (typeof value !== "string") return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
}

/** A value as a field with all its digits; a missing one is empty. */
export function exactly(value: Value | undefined): Field {
  if (value === null || value === undefined) return "";
  const number = numberOf(value);
  return number ?? (typeof value === "string" ? value : writeJson(value));
}

const line = (fields: Field[]) => `${fields.map(csvField).join(",")}\r\n`;

/** What is drawn: a line of the file for each column of each curve. */
export function csvOfCurves(curves: readonly Curve[]): string {
  const rows = [line(["curve", "x", "step", "last", "min", "max", "mean", "points", "not_finite", "drawn"])];
  for (const curve of curves) {
    const { columns } = curve;
    if (columns === null) {
      for (const { x, y } of curve.line) rows.push(line([curve.label, x, "", "", "", "", "", "", "", y]));
      continue;
    }
    for (let at = 0; at < columns.x.length; at++) {
      const of = (array: Float64Array) => array[at] as number;
      const drawn = curve.raw === null ? of(columns.mean) : (curve.line[at]?.y ?? Number.NaN);
      const odd = of(columns.nonfinite) > 0 && of(columns.count_of) === of(columns.nonfinite);
      rows.push(
        line([
          ...[curve.label, of(columns.x), of(columns.step), odd ? of(columns.odd) : of(columns.last)],
          ...[of(columns.min), of(columns.max), of(columns.mean)],
          ...[of(columns.count_of), of(columns.nonfinite), drawn],
        ]),
      );
    }
  }
  return rows.join("");
}

const PAGE = 65_536;

/** Every point of some series, with exact values. */
export async function csvOfAll(series: readonly { key: SeriesKey; label: string }[]): Promise<Blob> {
  const parts = [line(["curve", "series", "step", "time", "value"])];
  for (const { key, label } of series) {
    const [trial, kind, name] = key;
    for (let start = 0; ; ) {
      const points = await pageOf({ trial, kind, name, start, limit: PAGE });
      if (points === null || points.values.length === 0) break;
      const { steps, times, values } = points;
      values.forEach((value, at) => {
        parts.push(line([label, name, ...[steps[at], times[at], value].map(exactly)]));
      });
      start += values.length;
    }
  }
  return new Blob(parts, { type: "text/csv" });
}

/** Some points of a series; null where the run has none. */
async function pageOf(wanted: Methods["fetch_metrics"][0]): Promise<Methods["fetch_metrics"][1] | null> {
  try {
    return await call("fetch_metrics", wanted);
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

export interface Drawing {
  title: string;
  curves: readonly Curve[];
  marks: readonly Mark[];
  xKind: XKind;
  /** What x is, where it is a metric. */
  xLabel: string | null;
  logX: boolean;
  logY: boolean;
  x: Range;
  y: Range;
  width: number;
  height: number;
  colours: { back: string; text: string; muted: string; line: string };
}

const escaped = (text: string) =>
  text.replace(
    /[&<>"]/g,
    (char) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[char] as string,
  );

/** A chart as SVG, with its axes and a legend below. */
export function svgOf(drawing: Drawing): string {
  const { curves, x, y, logX, logY, width, height, colours } = drawing;
  const yPlaces = ticks(y, height / 48, logY);
  const yLabels = shortTexts(yPlaces);
  const left = 14 + 6.4 * Math.max(3, ...yLabels.map((text) => text.length));
  const top = 30;
  const right = width - 12;
  const bottom = height - 40;
  const rows = Math.ceil(curves.length / Math.max(1, Math.floor(width / 180)));
  const place = (range: Range, log: boolean, from: number, to: number) => (value: number) => {
    if (log && value <= 0) return Number.NaN;
    const at = log ? Math.log : (number: number) => number;
    return from + ((at(value) - at(range.low)) / (at(range.high) - at(range.low))) * (to - from);
  };
  const toX = place(x, logX, left, right);
  const toY = place(y, logY, bottom, top);
  const xPlaces = xTicks(drawing.xKind, x, width / 110, logX);
  const pen = svgPen();
  paint(pen, { curves, marks: drawing.marks, highlighted: null, x, toX, toY, top, bottom, scale: 1 });
  const text = (content: string, at: number, line: number, anchor: string, colour = colours.muted) =>
    `<text x="${at.toFixed(1)}" y="${line.toFixed(1)}" text-anchor="${anchor}" fill="${colour}">${escaped(content)}</text>`;
  const rule = (x1: number, y1: number, x2: number, y2: number) =>
    `<path d="M${x1.toFixed(1)} ${y1.toFixed(1)}L${x2.toFixed(1)} ${y2.toFixed(1)}" stroke="${colours.line}"/>`;
  const xLabels = xTexts(drawing.xKind, xPlaces);
  const perRow = Math.ceil(curves.length / Math.max(1, rows));
  const legend = curves.map((curve, at) => {
    const [column, row] = [at % perRow, Math.floor(at / perRow)];
    const [legendX, legendY] = [left + column * 180, height + 14 + row * 16];
    return (
      `<rect x="${legendX}" y="${legendY - 8}" width="9" height="9" rx="2" fill="${curve.colour}"/>` +
      text(curve.label.slice(0, 26), legendX + 14, legendY, "start", colours.text)
    );
  });
  const whole = height + 12 + rows * 16;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${whole}" width="${width}" height="${whole}" font-family="sans-serif" font-size="11">`,
    `<rect width="${width}" height="${whole}" fill="${colours.back}"/>`,
    text(drawing.title, left, 18, "start", colours.text),
    ...xPlaces.map((tick) => rule(toX(tick), top, toX(tick), bottom)),
    ...xPlaces.map((tick, at) => text(xLabels[at] as string, toX(tick), bottom + 16, "middle")),
    text(drawing.xLabel ?? X_LABELS[drawing.xKind], (left + right) / 2, bottom + 33, "middle"),
    ...yPlaces.map((tick) => rule(left, toY(tick), right, toY(tick))),
    ...yPlaces.map((tick, at) => text(yLabels[at] as string, left - 6, toY(tick) + 4, "end")),
    `<clipPath id="plot"><rect x="${left}" y="${top}" width="${right - left}" height="${bottom - top}"/></clipPath>`,
    `<g clip-path="url(#plot)">`,
    ...pen.elements,
    "</g>",
    ...legend,
    "</svg>",
  ].join("\n");
}

/** The colours of the present theme. */
export function pageColours(): Drawing["colours"] {
  return {
    back: cssColour("--back"),
    text: cssColour("--text"),
    muted: cssColour("--muted"),
    line: cssColour("--line"),
  };
}

/** An SVG as a PNG of twice its size. */
export async function pngOf(svg: string): Promise<Blob> {
  const url = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = 2 * image.width;
    canvas.height = 2 * image.height;
    canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((done, failed) =>
      canvas.toBlob((blob) =>
        blob === null ? failed(new Error("The picture could not be made.")) : done(blob),
      ),
    );
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** Have the browser save a file. */
export function download(content: Blob | string, name: string, type = "text/plain"): void {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name.replace(/[^\w.-]+/g, "_");
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
