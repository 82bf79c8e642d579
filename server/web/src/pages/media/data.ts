// The items of a series of media, and the steps at which they are.
import { call, type TrialId, type Value } from "../../api";
import { floatOf, formatValue } from "../../format";

export interface Item {
  /** The step, or the ordinal where there is none. */
  step: number;
  time: number | null;
  value: Value;
}

const PAGE = 1_000;
/** Items of one series that are listed at most; the newest ones count. */
export const MOST = 10_000;

/** All items of a series, by step. */
export async function fetchItems(
  trial: TrialId,
  kind: string,
  name: string,
  signal: AbortSignal,
): Promise<Item[]> {
  const items: Item[] = [];
  while (items.length < MOST) {
    const page = await call("fetch_metrics", { trial, kind, name, start: items.length, limit: PAGE }, signal);
    const { steps, times, values } = page;
    values.forEach((value, at) => {
      const step = steps[at];
      const time = times[at];
      items.push({
        step: floatOf(step) ?? items.length,
        time: floatOf(time),
        value,
      });
    });
    if (values.length < PAGE) break;
  }
  return items.sort((a, b) => a.step - b.step);
}

/** The last item at or before a step; the first one where all are later; null of none. */
export function itemAt(items: readonly Item[], step: number | null): Item | null {
  if (step === null) return items.at(-1) ?? null;
  return items.findLast((item) => item.step <= step) ?? items[0] ?? null;
}

/** All steps of several series, ascending. */
export function stepsOf(series: readonly (readonly Item[])[]): number[] {
  return [...new Set(series.flatMap((items) => items.map((item) => item.step)))].sort((a, b) => a - b);
}

/** The text of an item that holds it itself; null of one that has it in a blob. */
export function inlineText(value: Value): string | null {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return null;
  return typeof value.text === "string" ? value.text : null;
}

/** A text of an item's document. */
export function field(value: Value, name: string): string | null {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return null;
  const found = value[name];
  return found === undefined || found === null ? null : formatValue(found);
}
