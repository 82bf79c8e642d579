// A chart: uPlot has the axes, the crosshair and the selection of a window; the curves are painted by `paint`.
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import "./chart.css";
import { formatCount, formatMoment, formatNumber, plural } from "../format";
import { cssColour, useDark } from "../theme";
import type { Band, Curve } from "./curve";
import { nearest } from "./curve";
import { setHighlighted, useHighlighted } from "./highlight";
import { shortTexts, X_LABELS, type XKind, xText, xTexts, xTicks } from "./labels";
import { canvasPen, type Mark, paint } from "./paint";
import { type Range, rangeOfX, rangeOfY, type Scaled, ticks } from "./scale";

export interface ChartProps {
  curves: readonly Curve[];
  marks: readonly Mark[];
  xKind: XKind;
  logX: boolean;
  logY: boolean;
  /** Leave outliers out of the range of y. */
  clip: boolean;
  /** The window of x, and that of y; null for all. */
  zoom: Range | null;
  zoomY: Range | null;
  /** A window was drawn: of x, of y, or a rectangle; null is all again. */
  onZoom: (zoom: { x?: Range; y?: Range } | null) => void;
  /** A click on the curve of a run. */
  onPick?: (owner: string) => void;
  /** Charts with one key have one crosshair. */
  link: string;
  height: number;
  label: string;
}

/** What is under the pointer. */
interface Reading {
  left: number;
  top: number;
  x: number;
  /** Of the nearest point, where it is known: its step and its time, in seconds since the epoch. */
  step: number | null;
  time: number | null;
  lines: { curve: Curve; text: string; detail: string; distance: number }[];
  /** What happened to runs at this place. */
  marks: readonly Mark[];
}

/** Pixels that begin a window; and those across from which on it is a rectangle, and not of one axis alone. */
const DRAG_PX = 4;
const ACROSS_PX = 36;
const SHOWN = 9;
/** How wide the reading is, as the style sheet has it. */
const TIP_PX = 244;
const SHOWN_MARKS = 3;
/** Pixels beside a mark in which it is read. */
const MARK_PX = 5;

export function Chart(props: ChartProps): JSX.Element {
  const { curves, xKind, logX, logY, clip, zoom, zoomY, height } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const dark = useDark();
  const highlighted = useHighlighted();
  const [reading, setReading] = useState<Reading | null>(null);
  const whole = useMemo(() => rangeOfX(curves, logX), [curves, logX]);
  const x = zoom ?? whole;
  const y = useMemo(() => rangeOfY(curves, x, logY, clip, zoomY), [curves, x, logY, clip, zoomY]);
  const now = useRef({ ...props, x, y, highlighted });
  now.current = { ...props, x, y, highlighted };

  // biome-ignore lint/correctness/useExhaustiveDependencies: what changes often is read through `now`
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return;
    const made = new uPlot(options(now, element.clientWidth, setReading), dataOf(x, y), element);
    plot.current = made;
    const observer = new ResizeObserver(() => {
      if (element.clientWidth > 0) made.setSize({ width: element.clientWidth, height: now.current.height });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [dark, xKind, logX, logY, props.link]);

  // biome-ignore lint/correctness/useExhaustiveDependencies: curves and marks are painted anew
  useEffect(() => {
    plot.current?.setData(dataOf(x, y), true);
  }, [curves, props.marks, x, y]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the painting reads it
  useEffect(() => {
    plot.current?.redraw(false);
  }, [highlighted]);
  useEffect(() => {
    const element = box.current;
    if (element !== null) plot.current?.setSize({ width: element.clientWidth, height });
  }, [height]);

  return (
    <div
      class="chart-plot"
      role="img"
      aria-label={props.label}
      onMouseLeave={() => {
        setReading(null);
        setHighlighted(null);
      }}
    >
      <div ref={box} />
      <Notes
        y={y}
        logY={logY}
        odd={curves.flatMap((curve) => curve.odd).reduce((sum, odd) => sum + odd.count, 0)}
      />
      {reading !== null && <Tooltip reading={reading} xKind={xKind} />}
    </div>
  );
}

/** What the axes have no place for, in words. */
function Notes({ y, logY, odd }: { y: Scaled; logY: boolean; odd: number }): JSX.Element | null {
  const notes = [
    y.above > 0 && `${formatCount(y.above)} above ↑`,
    y.below > 0 && `${formatCount(y.below)} below ↓`,
    logY && y.notPositive > 0 && `${formatCount(y.notPositive)} ≤ 0, not on a logarithmic axis`,
    odd > 0 && `${formatCount(odd)} × not finite`,
  ].filter(Boolean);
  return notes.length === 0 ? null : <p class="chart-notes">{notes.join(" · ")}</p>;
}

function Tooltip({ reading, xKind }: { reading: Reading; xKind: XKind }): JSX.Element {
  const more = reading.lines.length - SHOWN;
  return (
    <div class="chart-tip" style={{ left: `${reading.left}px`, top: `${reading.top}px` }} aria-hidden="true">
      <p class="hint">{placeText(reading, xKind)}</p>
      {reading.lines.slice(0, SHOWN).map(({ curve, text, detail }, at) => (
        <p key={curve.key} class={at === 0 ? "nearest" : undefined}>
          <i class="swatch" style={{ background: curve.colour }} />
          <span class="chart-tip-name">{curve.label}</span>
          <b>{text}</b>
          {at === 0 && detail !== "" && <span class="chart-tip-detail">{detail}</span>}
          {at === 0 && curve.note !== "" && <span class="chart-tip-detail note">{curve.note}</span>}
        </p>
      ))}
      {more > 0 && <p class="hint">and {formatCount(more)} more</p>}
      {reading.marks.slice(0, SHOWN_MARKS).map((mark) => (
        <p key={`${mark.owner} ${mark.text}`}>
          <i class="swatch" style={{ background: mark.colour }} />
          <span class="chart-tip-detail">{mark.text}</span>
        </p>
      ))}
    </div>
  );
}

/** Where the nearest point is, on the axis and otherwise. */
function placeText({ x, step, time }: Reading, xKind: XKind): string {
  const parts = [`${X_LABELS[xKind]} ${xText(xKind, x)}`];
  if (xKind !== "step" && step !== null) parts.push(`step ${xText("step", step)}`);
  if (xKind !== "time" && time !== null) parts.push(formatMoment(time));
  return parts.join(" · ");
}

function dataOf(x: Range, y: Range): uPlot.AlignedData {
  return [
    [x.low, x.high],
    [y.low, y.high],
  ];
}

type Now = { current: ChartProps & { x: Range; y: Scaled; highlighted: string | null } };

function options(now: Now, width: number, setReading: (reading: Reading | null) => void): uPlot.Options {
  const { xKind, logX, logY, link } = now.current;
  const grid = { stroke: cssColour("--line"), width: 1 };
  const axis = {
    stroke: cssColour("--muted"),
    font: `11px ${cssColour("--sans")}`,
    grid,
    ticks: { show: false },
  };
  let pressed: [number, number] | null = null;
  return {
    width,
    height: now.current.height,
    legend: { show: false },
    // Notes stand above what is drawn.
    padding: [15, 10, 0, 0],
    cursor: {
      y: false,
      points: { show: false },
      drag: { x: true, y: true, setScale: false, dist: DRAG_PX, uni: ACROSS_PX },
      // The crosshair alone is linked: a window of x reaches the other charts through the address.
      sync: {
        key: link,
        scales: ["x", null],
        filters: { pub: (type) => type.startsWith("mousem"), sub: () => true },
      },
      bind: {
        dblclick: () => () => {
          now.current.onZoom(null);
          return null;
        },
      },
    },
    scales: {
      x: { time: false, distr: logX ? 3 : 1, range: () => [now.current.x.low, now.current.x.high] },
      y: { distr: logY ? 3 : 1, range: () => [now.current.y.low, now.current.y.high] },
    },
    axes: [
      {
        ...axis,
        size: 26,
        gap: 4,
        incrs: wholeRange,
        filter: allTicks,
        splits: (u, _axis, low, high) => xTicks(xKind, { low, high }, u.width / 90, logX),
        values: (_u, places) => xTexts(xKind, places),
      },
      {
        ...axis,
        gap: 4,
        size: (_u, texts) => 12 + 6.4 * Math.max(3, ...(texts ?? []).map((text) => text?.length ?? 0)),
        incrs: wholeRange,
        filter: allTicks,
        splits: (u, _axis, low, high) => ticks({ low, high }, u.height / 48, logY),
        values: (_u, places) => shortTexts(places),
      },
    ],
    series: [{}, { paths: () => null, points: { show: false } }],
    hooks: {
      draw: [
        (u) => {
          const { left, top, width, height } = u.bbox;
          u.ctx.save();
          u.ctx.beginPath();
          u.ctx.rect(left, top, width, height);
          u.ctx.clip();
          paint(canvasPen(u.ctx), {
            curves: now.current.curves,
            marks: now.current.marks,
            highlighted: now.current.highlighted,
            x: now.current.x,
            // uPlot places NaN somewhere on a logarithmic axis.
            toX: (value) => (placed(value, logX) ? u.valToPos(value, "x", true) : Number.NaN),
            toY: (value) => (placed(value, logY) ? u.valToPos(value, "y", true) : Number.NaN),
            top,
            bottom: top + height,
            scale: devicePixelRatio,
          });
          u.ctx.restore();
        },
      ],
      ready: [
        (u) => {
          u.over.addEventListener("mousedown", (event) => {
            pressed = [event.clientX, event.clientY];
          });
          u.over.addEventListener("click", (event) => {
            const moved =
              pressed === null || Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) > 3;
            const found = moved ? undefined : readingAt(u, now)?.lines[0];
            if (found !== undefined && found.distance < 24) now.current.onPick?.(found.curve.owner);
          });
        },
      ],
      setSelect: [
        (u) => {
          const { left, top, width, height } = u.select;
          u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          // Along an axis that it does not choose from, a window is as long as the axis.
          const isPart = (length: number, whole: number) => length >= DRAG_PX && length < whole;
          const x = { low: u.posToVal(left, "x"), high: u.posToVal(left + width, "x") };
          const y = { low: u.posToVal(top + height, "y"), high: u.posToVal(top, "y") };
          const zoom = {
            ...(isPart(width, u.over.clientWidth) ? { x } : {}),
            ...(isPart(height, u.over.clientHeight) ? { y } : {}),
          };
          if (zoom.x !== undefined || zoom.y !== undefined) now.current.onZoom(zoom);
        },
      ],
      setCursor: [
        (u) => {
          // The others of linked charts show the crosshair alone.
          const found = u.over.matches(":hover") ? readingAt(u, now) : null;
          setReading(found);
          if (found !== null) {
            const first = found.lines[0];
            setHighlighted(first !== undefined && first.distance < 24 ? first.curve.owner : null);
          }
        },
      ],
    },
  };
}

/** Ticks are ours. uPlot hides an axis for whose range its own distances are too small, so it gets one that is not. */
const wholeRange = (_u: uPlot, _axis: number, low: number, high: number) => [Math.max(5, high - low)];

/** On a logarithmic axis uPlot would take the text from most of them. */
const allTicks = (_u: uPlot, places: number[]) => places;

/** The band of a group at a point of its line. */
function bandText(band: Band | null, at: number): string {
  if (band === null) return "";
  const [low, high] = [band.low[at] as number, band.high[at] as number];
  const range = low < high ? `${formatNumber(low, 5)} … ${formatNumber(high, 5)}, ` : "";
  return `${range}${plural(band.runs[at] ?? 0, "run")} there`;
}

/** Whether an axis has a place for a value. */
const placed = (value: number, log: boolean) => Number.isFinite(value) && (!log || value > 0);

/** The values of all curves beside the pointer, the nearest curve first. */
function readingAt(u: uPlot, now: Now): Reading | null {
  const { left = -1, top = -1 } = u.cursor;
  if (left < 0 || top < 0) return null;
  const place = u.posToVal(left, "x");
  const lines: Reading["lines"] = [];
  for (const curve of now.current.curves) {
    const found = valueAt(curve, place);
    if (found === null) continue;
    const pixels = Math.hypot(
      (u.valToPos(found.x, "x") - left) / 4,
      Number.isFinite(found.y) ? u.valToPos(found.y, "y") - top : 400,
    );
    lines.push({ curve, text: found.text, detail: found.detail, distance: pixels });
  }
  lines.sort((a, b) => a.distance - b.distance);
  const first = lines[0];
  const found = first === undefined ? null : valueAt(first.curve, place);
  const columns = first?.curve.columns ?? null;
  const at = found === null || columns === null ? -1 : nearest(columns.x, place);
  const marks = now.current.marks.filter((mark) => Math.abs(u.valToPos(mark.x, "x") - left) <= MARK_PX);
  // Beside the pointer, on the side with more room.
  const beside = left + u.over.offsetLeft + (left > u.over.clientWidth / 2 ? -TIP_PX - 12 : 16);
  return {
    left: Math.max(0, Math.min(beside, u.width - TIP_PX)),
    top: Math.max(0, top - 20),
    x: found?.x ?? place,
    step: finiteOrNull(columns?.step[at]),
    time: finiteOrNull(columns?.time[at]),
    lines,
    marks,
  };
}

const finiteOrNull = (value: number | undefined) =>
  value !== undefined && Number.isFinite(value) ? value : null;

/** The value of a curve nearest to a place, and what is said of it. */
function valueAt(curve: Curve, place: number): { x: number; y: number; text: string; detail: string } | null {
  const { columns } = curve;
  if (columns === null) {
    const at = nearest(
      curve.line.map((point) => point.x),
      place,
    );
    const point = curve.line[at];
    if (point === undefined) return null;
    return { ...point, text: formatNumber(point.y, 6), detail: bandText(curve.band, at) };
  }
  const at = nearest(columns.x, place);
  if (at < 0) return null;
  const x = columns.x[at] as number;
  const count = columns.count_of[at] as number;
  const odd = columns.nonfinite[at] as number;
  if (odd === count) {
    return { x, y: Number.NaN, text: formatNumber(columns.odd[at] as number), detail: "" };
  }
  const raw = count === 1 ? (columns.last[at] as number) : (columns.mean[at] as number);
  const smoothed = curve.raw === null ? null : (curve.line[at]?.y ?? null);
  const detail: string[] = [];
  if (smoothed !== null) detail.push(`not smoothed ${formatNumber(raw, 6)}`);
  if (count > 1) {
    const [low, high] = [columns.min[at] as number, columns.max[at] as number];
    detail.push(`${formatNumber(low, 5)} … ${formatNumber(high, 5)}, mean of ${formatCount(count)} points`);
  }
  if (odd > 0) detail.push(`${formatCount(odd)} × ${formatNumber(columns.odd[at] as number)}`);
  return { x, y: smoothed ?? raw, text: formatNumber(smoothed ?? raw, 6), detail: detail.join("; ") };
}
