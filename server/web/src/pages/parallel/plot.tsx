// The picture: lines on canvases, axes and brushes above them.
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { shortTexts, xTexts } from "../../charts/labels";
import { ticks, timeTicks } from "../../charts/scale";
import { formatDuration, formatMoment, formatValue } from "../../format";
import { cssColour } from "../../theme";
import { type Axis, numberAt, ODD, ON_AXIS, shareOf, writeNumber } from "./axes";
import type { Brush } from "./brush";
import { drawInSlices, drawingOrder, type Lines, lineAt, opacityOf, widthOf } from "./draw";

/** Pixels. */
const SPACING = 96;
const SIDE = 64;
const TOP = 12;
const RAIL = 22;
const GRAB = 14;
const REACH = 7;

export interface PlotProps {
  axes: readonly Axis[];
  rows: number;
  /** One for each row that passes all brushes. */
  shown: Uint8Array;
  brushes: { [axis: string]: Brush };
  onBrush: (axis: string, brush: Brush | null, isDone: boolean) => void;
  buckets: Uint8Array;
  colours: readonly string[];
  greaterLast: boolean;
  /** Rows that are selected, and the colour of each. */
  selected: ReadonlyMap<number, string>;
  onPick: (row: number) => void;
  nameOf: (row: number) => string;
  /** The value of a row on an axis, in words. */
  valueOf: (axis: Axis, row: number) => string;
  dark: boolean;
  /** The headers of the axes, at their places. */
  header: (axis: Axis, at: number, x: number, places: readonly number[]) => JSX.Element;
}

interface Layout {
  width: number;
  height: number;
  xs: number[];
  top: number;
  bottom: number;
  oddY: number;
  missingY: number;
}

export function Plot(props: PlotProps): JSX.Element {
  const { axes, rows } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<HTMLDivElement>(null);
  const [room, setRoom] = useState(0);
  const [height, setHeight] = useState(0);
  useLayoutEffect(() => {
    const measure = () => {
      setRoom(box.current?.clientWidth ?? 0);
      setHeight(plot.current?.clientHeight ?? 0);
    };
    measure();
    const observer = new ResizeObserver(measure);
    for (const element of [box.current, plot.current]) if (element !== null) observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const hasOdd = axes.some((axis) => axis.hasOdd);
  const hasMissing = axes.some((axis) => axis.hasMissing);
  const layout = useMemo(
    () => layoutOf(axes.length, room, height, hasOdd, hasMissing),
    [axes.length, room, height, hasOdd, hasMissing],
  );
  const lines = useMemo(() => linesOf(axes, rows, layout), [axes, rows, layout]);
  const [hovered, setHovered] = useState<{ row: number; x: number; y: number } | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: another picture has other lines
  useEffect(() => setHovered(null), [lines]);
  return (
    <div class="par-scroll" ref={box}>
      <div class="par-inner" style={{ width: `${layout.width}px` }}>
        <ol class="par-heads" aria-label="Axes">
          {axes.map((axis, at) => props.header(axis, at, layout.xs[at] as number, layout.xs))}
        </ol>
        <div class="par-plot" ref={plot} style={{ "--seen": `${height}px` }}>
          {room > 0 && <LinesCanvas {...props} layout={layout} lines={lines} />}
          {room > 0 && (
            <MarksCanvas {...props} layout={layout} lines={lines} hovered={hovered?.row ?? null} />
          )}
          <Overlay
            {...props}
            layout={layout}
            lines={lines}
            setHovered={setHovered}
            isOver={hovered !== null}
          />
          {hovered !== null && <Tooltip {...props} layout={layout} hovered={hovered} />}
        </div>
      </div>
    </div>
  );
}

function layoutOf(count: number, room: number, height: number, hasOdd: boolean, hasMissing: boolean): Layout {
  const width = Math.max(room, (count - 1) * SPACING + 2 * SIDE);
  const gap = count > 1 ? (width - 2 * SIDE) / (count - 1) : 0;
  const xs = Array.from({ length: count }, (_, at) => (count > 1 ? SIDE + at * gap : width / 2));
  const rails = (hasOdd ? 1 : 0) + (hasMissing ? 1 : 0);
  const bottom = height - 10 - rails * RAIL;
  const oddY = bottom + RAIL;
  return { width, height, xs, top: TOP, bottom, oddY, missingY: hasOdd ? oddY + RAIL : oddY };
}

function linesOf(axes: readonly Axis[], rows: number, layout: Layout): Lines {
  const { top, bottom, xs } = layout;
  const ys = new Float32Array(rows * axes.length);
  axes.forEach((axis, at) => {
    for (let row = 0; row < rows; row++) {
      const rail = axis.rails[row];
      ys[row * axes.length + at] =
        rail === ON_AXIS
          ? bottom - shareOf(axis, axis.numbers[row] as number) * (bottom - top)
          : rail === ODD
            ? layout.oddY
            : layout.missingY;
    }
  });
  return { rows, xs, ys };
}

/** A canvas at the resolution of the screen; null where there is none. One of many lines is faster without a GPU. */
function sized(
  canvas: HTMLCanvasElement,
  { width, height }: Layout,
  ofMany = false,
): CanvasRenderingContext2D | null {
  const scale = devicePixelRatio;
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = canvas.getContext("2d", { willReadFrequently: ofMany });
  context?.setTransform(scale, 0, 0, scale, 0, 0);
  context?.clearRect(0, 0, width, height);
  return context;
}

type Inner = PlotProps & { layout: Layout; lines: Lines };

/** All lines, those outside of the brushes faint. Each picture takes the place of the one before when it is whole. */
function LinesCanvas(props: Inner): JSX.Element {
  const { layout, lines, shown, buckets, colours, greaterLast, dark } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  const faint = useRef<{ of: unknown; dark: boolean; canvas: HTMLCanvasElement } | null>(null);
  useEffect(() => {
    const element = canvas.current;
    if (element === null) return;
    const started = performance.now();
    const next = document.createElement("canvas");
    const context = sized(next, layout, true);
    if (context === null) return;
    const order = drawingOrder(buckets, shown, greaterLast);
    const isBrushed = order.length < lines.rows;
    let stop = () => {};
    const publish = () => {
      const target = sized(element, layout);
      if (target === null) return;
      if (isBrushed && faint.current !== null)
        target.drawImage(faint.current.canvas, 0, 0, layout.width, layout.height);
      target.drawImage(next, 0, 0, layout.width, layout.height);
      element.dataset.ms = String(Math.round(performance.now() - started));
      element.dataset.lines = String(order.length);
    };
    const drawShown = () => {
      const opacity = opacityOf(order.length);
      stop = drawInSlices(
        context,
        lines,
        order,
        { colours, buckets, opacity, width: widthOf(order.length, devicePixelRatio) },
        publish,
      );
    };
    if (!isBrushed || (faint.current?.of === lines && faint.current.dark === dark)) drawShown();
    else {
      // What the brushes leave out is drawn once, while they move.
      const back = document.createElement("canvas");
      const below = sized(back, layout, true);
      if (below === null) return;
      const all = Uint32Array.from({ length: lines.rows }, (_, row) => row);
      const plain = { colours: [cssColour("--muted")], buckets: new Uint8Array(lines.rows) };
      const opacity = opacityOf(lines.rows) * 0.35;
      stop = drawInSlices(below, lines, all, { ...plain, opacity, width: 1 / devicePixelRatio }, () => {
        faint.current = { of: lines, dark, canvas: back };
        drawShown();
      });
    }
    return () => stop();
  }, [layout, lines, shown, buckets, colours, greaterLast, dark]);
  return <canvas ref={canvas} class="par-lines" />;
}

/** The line under the pointer and the selected ones, above all others. */
function MarksCanvas(props: Inner & { hovered: number | null }): JSX.Element {
  const { layout, lines, selected, hovered, dark } = props;
  const canvas = useRef<HTMLCanvasElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the theme is read from the style sheet
  useEffect(() => {
    const context = canvas.current === null ? null : sized(canvas.current, layout);
    if (context === null) return;
    const stroke = (row: number, colour: string, width: number) => {
      context.beginPath();
      for (const [at, x] of lines.xs.entries()) {
        context[at === 0 ? "moveTo" : "lineTo"](x, lines.ys[row * lines.xs.length + at] as number);
      }
      context.lineWidth = width;
      context.strokeStyle = colour;
      context.stroke();
    };
    context.lineJoin = "round";
    const back = cssColour("--back");
    for (const [row, colour] of selected) {
      stroke(row, back, 5);
      stroke(row, colour, 2.5);
    }
    if (hovered !== null) {
      stroke(hovered, back, 6);
      stroke(hovered, cssColour("--text"), 2.5);
    }
  }, [layout, lines, selected, hovered, dark]);
  return <canvas ref={canvas} class="par-lines" />;
}

/** Axes with ticks and brushes, and what the pointer does. */
function Overlay(
  props: Inner & {
    setHovered: (hovered: { row: number; x: number; y: number } | null) => void;
    isOver: boolean;
  },
): JSX.Element {
  const { axes, layout, lines, brushes, onBrush } = props;
  const { xs, top, bottom } = layout;
  const drag = useRef<{ at: number; from: number; moved: boolean } | null>(null);
  const hasMissing = axes.some((axis) => axis.hasMissing);
  const odd = axes.filter((axis) => axis.hasOdd);
  const near = (x: number) => xs.findIndex((each) => Math.abs(each - x) <= GRAB);
  const placeOf = (event: { clientX: number; clientY: number; currentTarget: EventTarget | null }) => {
    const at = (event.currentTarget as Element).getBoundingClientRect();
    return [event.clientX - at.left, event.clientY - at.top] as const;
  };
  const brushTo = (y: number, isDone: boolean) => {
    if (drag.current === null) return;
    const axis = axes[drag.current.at] as Axis;
    const share = (place: number) => Math.max(0, Math.min(1, (bottom - place) / (bottom - top)));
    const [low, high] = [share(drag.current.from), share(y)].sort((a, b) => a - b) as [number, number];
    const rails = keepRails(brushes[axis.name]);
    if (axis.kind === "category") {
      const count = axis.categories.length;
      const values = axis.categories.slice(
        Math.min(count - 1, Math.floor(low * count)),
        Math.max(1, Math.ceil(high * count)),
      );
      onBrush(axis.name, { ...rails, values }, isDone);
    } else onBrush(axis.name, { ...rails, low: numberAt(axis, low), high: numberAt(axis, high) }, isDone);
  };
  return (
    <svg
      class={`par-axes${props.isOver ? " over" : ""}`}
      width={layout.width}
      height={layout.height}
      role="img"
      aria-label={`${props.rows} runs on ${axes.length} axes; the buttons above brush them, too`}
      onPointerDown={(event) => {
        const [x, y] = placeOf(event);
        const at = near(x);
        if (event.button !== 0 || at < 0 || y > bottom + 6) return;
        event.preventDefault();
        event.currentTarget.setPointerCapture(event.pointerId);
        drag.current = { at, from: y, moved: false };
        props.setHovered(null);
      }}
      onPointerMove={(event) => {
        const [x, y] = placeOf(event);
        if (drag.current !== null) {
          drag.current.moved ||= Math.abs(y - drag.current.from) > 3;
          if (drag.current.moved) brushTo(y, false);
          return;
        }
        const row = near(x) >= 0 && y <= bottom + 6 ? null : lineAt(lines, props.shown, x, y, REACH);
        props.setHovered(row === null ? null : { row, x, y });
      }}
      onPointerUp={(event) => {
        const [x, y] = placeOf(event);
        const { current } = drag;
        if (current !== null) {
          const axis = axes[current.at] as Axis;
          if (current.moved) brushTo(y, true);
          else {
            const rails = keepRails(brushes[axis.name]);
            onBrush(axis.name, Object.keys(rails).length > 0 ? rails : null, true);
          }
          drag.current = null;
          return;
        }
        const at = near(x);
        const axis = axes[at];
        if (axis !== undefined && y > bottom + 6) {
          const isMissing = Math.abs(y - layout.missingY) < Math.abs(y - layout.oddY) || !axis.hasOdd;
          const rail = isMissing ? "missing" : "odd";
          if (rail === "missing" ? axis.hasMissing : axis.hasOdd)
            onBrush(axis.name, toggleRail(brushes[axis.name], rail), true);
          return;
        }
        const row = lineAt(lines, props.shown, x, y, REACH);
        if (row !== null) props.onPick(row);
      }}
      onPointerCancel={() => {
        drag.current = null;
      }}
      onPointerLeave={() => props.setHovered(null)}
    >
      {odd.length > 0 && (
        <Rail
          y={layout.oddY}
          label={odd.every((axis) => axis.kind === "number") ? "not finite" : "other"}
          layout={layout}
        />
      )}
      {hasMissing && <Rail y={layout.missingY} label="missing" layout={layout} />}
      {axes.map((axis, at) => (
        <AxisLine
          key={axis.name}
          axis={axis}
          x={xs[at] as number}
          layout={layout}
          brush={brushes[axis.name]}
        />
      ))}
    </svg>
  );
}

const keepRails = (brush: Brush | undefined): Brush => ({
  ...(brush?.missing ? { missing: true as const } : {}),
  ...(brush?.odd ? { odd: true as const } : {}),
});

/** A brush with a rail chosen, or no longer; null of none. */
export function toggleRail(brush: Brush | undefined, rail: "missing" | "odd"): Brush | null {
  const { [rail]: was, ...rest } = brush ?? {};
  const next: Brush = was ? rest : { ...rest, [rail]: true };
  return Object.keys(next).length === 0 ? null : next;
}

function Rail({ y, label, layout }: { y: number; label: string; layout: Layout }): JSX.Element {
  const { xs } = layout;
  return (
    <g class="par-rail">
      <line x1={xs[0]} x2={xs.at(-1)} y1={y} y2={y} />
      <text x={4} y={y + 4}>
        {label}
      </text>
    </g>
  );
}

function AxisLine(props: { axis: Axis; x: number; layout: Layout; brush: Brush | undefined }): JSX.Element {
  const { axis, x, layout, brush } = props;
  const { top, bottom } = layout;
  const height = bottom - top;
  const marks = useMemo(() => marksOf(axis, height), [axis, height]);
  const yOf = (share: number) => bottom - share * height;
  const spans = brush === undefined ? [] : spansOf(axis, brush);
  return (
    <g class="par-axis">
      <line x1={x} x2={x} y1={top} y2={bottom} />
      {axis.hasOdd && <circle class={brush?.odd ? "on" : undefined} cx={x} cy={layout.oddY} r={4} />}
      {axis.hasMissing && (
        <circle class={brush?.missing ? "on" : undefined} cx={x} cy={layout.missingY} r={4} />
      )}
      {spans.map(([low, high]) => (
        <rect
          key={`${low} ${high}`}
          class="par-brush"
          x={x - 7}
          width={14}
          y={yOf(high)}
          height={Math.max(2, (high - low) * height)}
          rx={3}
        />
      ))}
      {marks.map(({ share, text }) => (
        <g key={share}>
          <line x1={x - 3} x2={x + 3} y1={yOf(share)} y2={yOf(share)} />
          <text x={x + 6} y={yOf(share) + 4}>
            {text}
          </text>
        </g>
      ))}
    </g>
  );
}

/** The stretches of an axis that a brush covers. */
function spansOf(axis: Axis, brush: Brush): [number, number][] {
  if (axis.kind === "category") {
    const count = axis.categories.length;
    return (brush.values ?? []).flatMap((value): [number, number][] => {
      const at = axis.categories.indexOf(value);
      return at < 0 ? [] : [[at / count, (at + 1) / count]];
    });
  }
  if (brush.low === undefined && brush.high === undefined) return [];
  const clamp = (number: number) =>
    Math.max(0, Math.min(1, shareOf(axis, Math.max(number, axis.log ? 1e-300 : number))));
  return [[brush.low === undefined ? 0 : clamp(brush.low), brush.high === undefined ? 1 : clamp(brush.high)]];
}

const LABEL = 12;
/** Values of an axis that each have a tick of their own. */
const MOST_FEW = 8;

/** Ticks with texts; of many categories as many as there is room for. */
function marksOf(axis: Axis, height: number): { share: number; text: string }[] {
  if (axis.kind === "category") {
    const every = Math.ceil(axis.categories.length / Math.max(1, height / 16));
    return axis.categories.flatMap((category, at) =>
      at % every === 0 ? [{ share: shareOf(axis, at), text: short(formatValue(category)) }] : [],
    );
  }
  if (!axis.hasPlaces) return [];
  if (axis.low === axis.high) {
    const text =
      axis.written === "moment" ? formatMoment(axis.low).slice(5, 16) : writeNumber(axis, axis.low);
    return [{ share: 0.5, text: short(text) }];
  }
  const range = { low: axis.low, high: axis.high };
  const count = height / 56;
  if (axis.written === "moment" && !axis.log) {
    const places = timeTicks(range, count, true);
    const texts = xTexts("time", places);
    return places.map((place, at) => ({ share: shareOf(axis, place), text: texts[at] ?? "" }));
  }
  const few = axis.isWhole && axis.written === "number" ? fewOf(axis, height) : null;
  if (few !== null) {
    return few.map((place) => ({ share: shareOf(axis, place), text: shortTexts([place])[0] ?? "" }));
  }
  const round =
    axis.written === "duration" && !axis.log ? timeTicks(range, count, false) : ticks(range, count, axis.log);
  const places = axis.isWhole ? round.filter(Number.isInteger) : round;
  const texts =
    axis.written === "duration"
      ? places.map(formatDuration)
      : axis.log
        ? places.map((place) => shortTexts([place])[0] ?? "")
        : shortTexts(places);
  return places.map((place, at) => ({ share: shareOf(axis, place), text: texts[at] ?? "" }));
}

/** The values of an axis that has few, which are the ticks then; null where there are more, or they are too near. */
function fewOf(axis: Axis, height: number): number[] | null {
  const found = new Set<number>();
  for (let row = 0; row < axis.numbers.length && found.size <= MOST_FEW; row++) {
    if (axis.rails[row] === ON_AXIS) found.add(axis.numbers[row] as number);
  }
  const places = [...found].sort((a, b) => a - b);
  const isNear = places.some(
    (place, at) => at > 0 && height * (shareOf(axis, place) - shareOf(axis, places[at - 1] as number)) < 14,
  );
  return found.size > MOST_FEW || isNear ? null : places;
}

const short = (text: string) => (text.length > LABEL ? `${text.slice(0, LABEL - 1)}…` : text);

function Tooltip(
  props: PlotProps & { layout: Layout; hovered: { row: number; x: number; y: number } },
): JSX.Element {
  const { axes, hovered, layout } = props;
  const isRight = hovered.x > layout.width / 2;
  return (
    <div
      class={`par-tip${isRight ? " left" : ""}`}
      style={{
        left: `${hovered.x + (isRight ? -16 : 16)}px`,
        top: `${Math.min(hovered.y, layout.height - 40)}px`,
      }}
      aria-hidden="true"
    >
      <p class="par-tip-name">{props.nameOf(hovered.row)}</p>
      {axes.map((axis) => (
        <p key={axis.name}>
          <span>{axis.label}</span>
          <b>{props.valueOf(axis, hovered.row)}</b>
        </p>
      ))}
    </div>
  );
}
