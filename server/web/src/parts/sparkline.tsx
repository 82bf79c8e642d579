// A curve in the size of a word.
import type { JSX } from "preact";
import type { Columns } from "../api";

const WIDTH = 120;
const HEIGHT = 28;
const EDGE = 2;

/** The path of the last values of each column, with what lies between least and greatest. */
export function sparkPath(columns: Pick<Columns, "x" | "last">): string {
  const { x, last } = columns;
  const finite = [...last].filter(Number.isFinite);
  if (finite.length === 0) return "";
  const low = Math.min(...finite);
  const range = Math.max(...finite) - low;
  const from = x[0] ?? 0;
  const extent = (x.at(-1) ?? 0) - from;
  let path = "";
  let pen = "M";
  last.forEach((value, at) => {
    if (!Number.isFinite(value)) {
      pen = "M"; // a gap where the value is no number
      return;
    }
    const left = EDGE + (extent > 0 ? (((x[at] ?? 0) - from) / extent) * (WIDTH - 2 * EDGE) : 0);
    const share = range > 0 ? (value - low) / range : 0.5;
    const top = HEIGHT - EDGE - share * (HEIGHT - 2 * EDGE);
    path += `${pen}${left.toFixed(1)} ${top.toFixed(1)}`;
    pen = "L";
  });
  return path;
}

/** A small curve; nothing where there is none. */
export function Sparkline(props: { columns: Columns | null; colour: string }): JSX.Element {
  return (
    <svg class="sparkline" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
      {props.columns !== null && <path d={sparkPath(props.columns)} stroke={props.colour} />}
    </svg>
  );
}
