// Several runs side by side: one row for each name that any of them has. Pure functions.
import type { Trial, Value } from "../../api";
import { csvField, exactly, type Field } from "../../charts/save";
import { hasText } from "../../find";
import { flatten } from "../../flat";
import { isWhole, numberOf } from "../../format";
import { writeJson } from "../../json";
import { otherMetadata, outputOf, outputTitle, provenance } from "../run/facts";
import { greaterIsBetter, isJudged, type Statistic } from "../runs/columns";

export const SECTIONS = [
  "Run",
  "Parameters",
  "Tags",
  "Metrics",
  "Timers",
  "Metadata",
  "Where it runs",
  "Output",
] as const;
export type Section = (typeof SECTIONS)[number];

export interface Row {
  section: Section;
  name: string;
  /** One for each run; undefined where the run has none. */
  values: readonly (Value | undefined)[];
  differs: boolean;
  /** Places of the best values; empty where there is no best one. */
  best: readonly number[];
  /** How the values are written. */
  kind: "value" | "moment" | "duration";
  /** Of a metric: its name without the statistic. */
  series?: string;
}

type Facts = readonly { name: string; value: Value | undefined }[];

/** The rows of some runs, section by section; those of metrics with the chosen statistics. */
export function rowsOf(trials: readonly Trial[], statistics: readonly Statistic[] | null): Row[] {
  const facts: [Section, (trial: Trial) => Facts][] = [
    ["Parameters", (trial) => flatten(trial.parameters)],
    ["Tags", (trial) => flatten(trial.tags)],
    ["Metadata", otherMetadata],
    ["Where it runs", provenance],
    ["Output", outputs],
  ];
  const found = new Map<Section, Row[]>([
    ["Run", ownRows(trials)],
    ["Metrics", seriesRows("Metrics", trials, (trial) => trial.metrics, statistics)],
    ["Timers", seriesRows("Timers", trials, (trial) => trial.chronos, ["mean", "count"])],
    ...facts.map(([section, of]): [Section, Row[]] => [section, merged(section, trials.map(of))]),
  ]);
  return SECTIONS.flatMap((section) => found.get(section) ?? []);
}

const outputs = (trial: Trial): Facts =>
  outputOf(trial).map(({ name, text }) => ({ name: outputTitle(name), value: text }));

function ownRows(trials: readonly Trial[]): Row[] {
  const row = (name: string, of: (trial: Trial) => Value | undefined, kind: Row["kind"] = "value") =>
    rowOf("Run", name, trials.map(of), kind);
  return [
    row("status", (trial) => trial.status.name.toLowerCase()),
    row("started", (trial) => trial.started ?? undefined, "moment"),
    row("duration", durationOf, "duration"),
    row("revision", (trial) => trial.revision),
    row("version", (trial) => trial.version ?? undefined),
    row("group", (trial) => trial.group_id ?? undefined),
    row("notes", (trial) => trial.description ?? undefined),
  ].filter(({ values }) => values.some((value) => value !== undefined));
}

function durationOf({ started, ended }: Trial): number | undefined {
  return started === null || ended === null ? undefined : ended - started;
}

/** One row for each name, in the order in which they first appear. */
function merged(section: Section, runs: readonly Facts[]): Row[] {
  const names = new Map<string, (Value | undefined)[]>();
  runs.forEach((facts, at) => {
    for (const { name, value } of facts) {
      const values = names.get(name) ?? new Array<Value | undefined>(runs.length).fill(undefined);
      values[at] = value;
      names.set(name, values);
    }
  });
  return [...names].map(([name, values]) => rowOf(section, name, values));
}

type SeriesOf = (trial: Trial) => { [name: string]: { [statistic: string]: Value } };

function seriesRows(
  section: Section,
  trials: readonly Trial[],
  of: SeriesOf,
  chosen: readonly Statistic[] | null,
): Row[] {
  const names = [...new Set(trials.flatMap((trial) => Object.keys(of(trial))))];
  return names.flatMap((series) => {
    const greater = section === "Metrics" && greaterIsBetter(series);
    return (chosen ?? ["last", greater ? "max" : "min"]).map((statistic) => {
      // Of a series without a finite value there is no least or greatest one.
      const values = trials.map((trial) => of(trial)[series]?.[statistic] ?? undefined);
      const kind = section === "Timers" && statistic !== "count" ? "duration" : "value";
      const row = { ...rowOf(section, `${series} ${statistic}`, values, kind), series };
      const hasBest = statistic !== "count" && isJudged(series);
      return hasBest ? { ...row, best: bestOf(values, greater) } : row;
    });
  });
}

function rowOf(
  section: Section,
  name: string,
  values: readonly (Value | undefined)[],
  kind: Row["kind"] = "value",
): Row {
  return { section, name, values, kind, best: [], differs: differ(values) };
}

/** Whether the values of a row are not all the same; a run without it differs from one that has null. */
export function differ(values: readonly (Value | undefined)[]): boolean {
  const [first, ...rest] = values.map(canonical);
  return rest.some((one) => one !== first);
}

/** A text that is equal for equal values: 1e-3 is 0.001, and keys have no order. */
function canonical(value: Value | undefined): string {
  return writeJson(sorted(value));
}

function sorted(value: Value | undefined): Value | undefined {
  if (typeof value === "bigint" && BigInt(Number(value)) === value) return Number(value);
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map((one) => sorted(one) as Value);
  const items = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(items.map(([key, one]) => [key, sorted(one) as Value]));
}

/** Where the best finite number is; nowhere if there are not two to choose from, or all are the same. */
export function bestOf(values: readonly (Value | undefined)[], greater: boolean): number[] {
  const numbers = values.map((value) => {
    const number = numberOf(value);
    return number !== null && Number.isFinite(Number(number)) ? number : null;
  });
  const known = numbers.filter((number) => number !== null);
  const best = known.reduce((a, b) => (greater === b > a ? b : a), known[0] ?? 0);
  // An integer is compared with a float as numbers, whatever they are held in.
  const isBest = (number: number | bigint) => !(number < best) && !(number > best);
  if (known.every(isBest)) return [];
  return numbers.flatMap((number, at) => (number !== null && isBest(number) ? [at] : []));
}

export interface Delta {
  difference: number | bigint;
  /** Of the size of the baseline; null where that is 0. */
  share: number | null;
}

/** How far a number is from the baseline's; null where one is no finite number, or both are the same. */
export function deltaOf(value: Value | undefined, base: Value | undefined): Delta | null {
  if (!isNumber(value) || !isNumber(base) || value === base) return null;
  const isLong = typeof value === "bigint" || typeof base === "bigint";
  const difference =
    isLong && isWhole(value) && isWhole(base) ? BigInt(value) - BigInt(base) : Number(value) - Number(base);
  return { difference, share: Number(base) === 0 ? null : Number(difference) / Math.abs(Number(base)) };
}

const isNumber = (value: Value | undefined): value is number | bigint =>
  typeof value === "number" || typeof value === "bigint";

/** The rows that are shown: by name, and only those that differ. */
export function shownRows(rows: readonly Row[], find: string, all: boolean): Row[] {
  return rows.filter(({ name, differs, section }) => (all || differs) && hasText(`${section} ${name}`, find));
}

/** A text that is too long for a cell, or has lines: it is compared in a window of its own. */
export function isLong(value: Value | undefined): boolean {
  return typeof value === "string" && (value.length > 60 || value.includes("\n"));
}

/** What is shown as CSV, with exact values. */
export function csvOf(names: readonly string[], rows: readonly Row[]): string {
  const line = (fields: Field[]) => `${fields.map(csvField).join(",")}\r\n`;
  return [
    line(["section", "name", ...names]),
    ...rows.map(({ section, name, values }) => line([section, name, ...values.map(exactly)])),
  ].join("");
}

/** What an unchanged stretch of a difference is cut to: some lines before and after each change. */
export function withContext<T extends { kind: string }>(lines: readonly T[], around = 3): (T | number)[] {
  const near = new Uint8Array(lines.length);
  lines.forEach(({ kind }, at) => {
    if (kind === "same") return;
    near.fill(1, Math.max(0, at - around), Math.min(lines.length, at + around + 1));
  });
  const found: (T | number)[] = [];
  for (const [at, line] of lines.entries()) {
    const last = found.at(-1);
    if (near[at] === 1) found.push(line);
    else if (typeof last === "number") found[found.length - 1] = last + 1;
    else found.push(1);
  }
  return found;
}
