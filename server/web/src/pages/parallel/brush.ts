// Brushes: what is chosen on an axis, which rows pass, and the filter that selects the same rows. Pure functions.
import { filterName, filterValue } from "../../complete";
import { formatCount, formatValue } from "../../format";
import { fieldsOf } from "../../state";
import { type Axis, type Category, MISSING, ODD, ON_AXIS, writeNumber } from "./axes";

/** What passes on an axis: any of these. */
export interface Brush {
  /** Numbers from `low` to `high`, both included; one that is left out has no end. */
  low?: number;
  high?: number;
  /** Categories. */
  values?: Category[];
  /** Rows without a value; and those whose value is no finite number, or no category. */
  missing?: true;
  odd?: true;
}
export type Brushes = { [axis: string]: Brush };

const hasRange = ({ low, high }: Brush) => low !== undefined || high !== undefined;
/** Whether a brush chooses anything. */
export const isSet = (brush: Brush | undefined): brush is Brush =>
  brush !== undefined && (hasRange(brush) || brush.values !== undefined || !!brush.missing || !!brush.odd);

/** Whether a row passes a brush. */
export function passes(axis: Axis, brush: Brush, row: number): boolean {
  const rail = axis.rails[row];
  if (rail === MISSING) return brush.missing === true;
  if (rail === ODD) return brush.odd === true;
  const number = axis.numbers[row] as number;
  if (axis.kind === "category") return brush.values?.includes(axis.categories[number] as Category) ?? false;
  if (!hasRange(brush)) return false;
  return (
    number >= (brush.low ?? Number.NEGATIVE_INFINITY) && number <= (brush.high ?? Number.POSITIVE_INFINITY)
  );
}

/** One for each row that passes all brushes. */
export function passing(
  axes: readonly Axis[],
  all: readonly [axis: string, brush: Brush][],
  rows: number,
): Uint8Array {
  const found = new Uint8Array(rows).fill(1);
  for (const [name, brush] of all) {
    const axis = axes.find((one) => one.name === name);
    if (axis === undefined) continue;
    for (let row = 0; row < rows; row++) if (!passes(axis, brush, row)) found[row] = 0;
  }
  return found;
}

/** The condition in the language of filters that exactly the rows fulfil that pass the brush. */
export function conditionOf(axis: Axis, brush: Brush): string {
  const name = filterName(axis.name);
  const parts: string[] = [];
  if (axis.kind === "category") {
    if (brush.values !== undefined && brush.values.length > 0) parts.push(amongOf(name, brush.values));
    if (brush.odd) {
      parts.push(
        axis.categories.length === 0
          ? `${name} != null`
          : `(${name} != null and ${name} not in (${axis.categories.map(filterValue).join(", ")}))`,
      );
    }
  } else {
    // Integers that floats are too short for lie where their float is: all of them pass, or none.
    const low = brush.low === undefined ? undefined : (axis.long.get(brush.low)?.[0] ?? brush.low);
    const high = brush.high === undefined ? undefined : (axis.long.get(brush.high)?.[1] ?? brush.high);
    if (low !== undefined && low === high) parts.push(`${name} = ${low}`);
    else if (hasRange(brush)) {
      // An open end is still the end of what is finite; an attribute that never is infinite has both.
      const ends = [
        low !== undefined ? `${name} >= ${low}` : axis.hasOdd && `${name} > -inf`,
        high !== undefined ? `${name} <= ${high}` : axis.hasOdd && `${name} < inf`,
      ].filter((end) => end !== false);
      parts.push(ends.join(" and "));
    }
    if (brush.odd) parts.push(`(${name} != null and not (${name} > -inf and ${name} < inf))`);
  }
  if (brush.missing) parts.push(`${name} = null`);
  if (parts.length === 0) return "";
  return parts.length === 1 ? (parts[0] as string) : `(${parts.map(inner).join(" or ")})`;
}

const inner = (part: string) => (part.includes(" and ") && !part.startsWith("(") ? `(${part})` : part);

function amongOf(name: string, values: readonly Category[]): string {
  const [first] = values;
  return values.length === 1
    ? `${name} = ${filterValue(first)}`
    : `${name} in (${values.map(filterValue).join(", ")})`;
}

/** All brushes as one filter. */
export function filterOf(axes: readonly Axis[], all: readonly [axis: string, brush: Brush][]): string {
  return all
    .map(([name, brush]) => {
      const axis = axes.find((one) => one.name === name);
      return axis === undefined ? "" : conditionOf(axis, brush);
    })
    .filter((condition) => condition !== "")
    .join(" and ");
}

/** A brush in words. */
export function describe(axis: Axis, brush: Brush): string {
  const { low, high, values } = brush;
  const parts: string[] = [];
  if (low !== undefined && low === high) parts.push(`= ${writeNumber(axis, low)}`);
  else if (low !== undefined && high !== undefined)
    parts.push(`${writeNumber(axis, low)} … ${writeNumber(axis, high)}`);
  else if (low !== undefined) parts.push(`≥ ${writeNumber(axis, low)}`);
  else if (high !== undefined) parts.push(`≤ ${writeNumber(axis, high)}`);
  if (values !== undefined && values.length > 0) {
    const shown = values.slice(0, 3).map(formatValue).join(", ");
    parts.push(values.length > 3 ? `${shown} and ${formatCount(values.length - 3)} more` : shown);
  }
  if (brush.odd) parts.push(axis.kind === "number" ? "not a finite number" : "other values");
  if (brush.missing) parts.push("missing");
  return parts.join(" or ");
}

/** The best `percent` % of the rows by an axis; equal values are all among them. */
export function bestShare(axis: Axis, percent: number, greater: boolean): Brush | null {
  const found = axis.numbers.filter((_, row) => axis.rails[row] === ON_AXIS).sort();
  if (axis.kind !== "number" || found.length === 0) return null;
  const count = Math.max(1, Math.min(found.length, Math.round((found.length * percent) / 100)));
  return greater ? { low: found[found.length - count] as number } : { high: found[count - 1] as number };
}

/** A brush of an address; null if it chooses nothing. */
export function readBrush(value: unknown): Brush | null {
  const { low, high, values, missing, odd } = fieldsOf(value);
  const brush: Brush = {
    ...(typeof low === "number" ? { low } : {}),
    ...(typeof high === "number" ? { high } : {}),
    ...(Array.isArray(values)
      ? { values: values.filter((each) => ["string", "number", "boolean", "bigint"].includes(typeof each)) }
      : {}),
    ...(missing === true ? { missing } : {}),
    ...(odd === true ? { odd } : {}),
  };
  return isSet(brush) ? brush : null;
}
