// Where runs were rewound or resumed, as lines across a chart. Pure functions.
import type { Value } from "../api";
import { formatMoment, formatValue } from "../format";
import type { Run } from "../runs";
import { type Curve, lowerBound } from "./curve";
import type { XKind } from "./labels";
import type { Mark } from "./paint";

/** Something that happened to a run. */
export interface Happening {
  run: string;
  colour: string;
  kind: "rewound" | "resumed";
  time: number;
  /** The step to which it was rewound. */
  step: number | null;
}

const DASHES = { rewound: [3, 3], resumed: [1, 3] } as const;

/** What the metadata `rewinds` and `resumes` of a run tell. */
export function happeningsOf(run: Pick<Run, "id" | "colour">, rewinds: Value, resumes: Value): Happening[] {
  const items = (value: Value) =>
    (Array.isArray(value) ? value : []).flatMap((item) =>
      item !== null && typeof item === "object" && !Array.isArray(item) ? [item] : [],
    );
  const number = (value: Value | undefined) => (typeof value === "number" ? value : Number.NaN);
  const { id, colour } = run;
  return [
    ...items(rewinds).map(
      ({ step, time }): Happening => ({
        ...{ run: id, colour, kind: "rewound", time: number(time) },
        step: typeof step === "number" ? step : null,
      }),
    ),
    ...items(resumes).map(
      ({ time }): Happening => ({ run: id, colour, kind: "resumed", time: number(time), step: null }),
    ),
  ];
}

/** Lines at the places of a chart: of a rewind its step, of the rest the first point that came afterwards. */
export function marksOf(happenings: readonly Happening[], curves: readonly Curve[], kind: XKind): Mark[] {
  return happenings.flatMap((one) => {
    const own = curves.find((curve) => curve.owner === one.run);
    const x = own === undefined ? Number.NaN : placeOf(one, curves, kind);
    if (own === undefined || !Number.isFinite(x)) return [];
    const where = one.step === null ? "" : ` to step ${formatValue(one.step)}`;
    const when = Number.isFinite(one.time) ? `, ${formatMoment(one.time)}` : "";
    const text = `${one.kind}${where}${when}`;
    return [{ x, colour: one.colour, dash: DASHES[one.kind], owner: one.run, text }];
  });
}

function placeOf({ run, step, time }: Happening, curves: readonly Curve[], kind: XKind): number {
  if (kind === "step" && step !== null) return step;
  if (kind === "time") return time;
  const columns = curves.find((curve) => curve.owner === run && curve.columns !== null)?.columns;
  return columns?.x[lowerBound(columns.time, time)] ?? Number.NaN;
}
