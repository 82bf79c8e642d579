// What the page of a run says of it, from the trial's document. Pure functions.
import type { Trial, Value } from "../../api";
import { flatten } from "../../flat";

export interface Fact {
  name: string;
  value: Value;
}

/** Metadata that the page shows elsewhere, or that is of no use to a person. */
const ELSEWHERE = new Set([
  "run",
  "hidden",
  "colour",
  "heartbeat",
  "dropped_points",
  "rewinds",
  "resumes",
  "views",
]);
const OUTPUT = /^(out|err)(_\d+)?$/;

/** The metadata that stands in no other part of the page. */
export function otherMetadata(trial: Trial): Fact[] {
  const rest = Object.entries(trial.metadata).filter(
    ([name]) => !name.startsWith("_") && !ELSEWHERE.has(name) && !OUTPUT.test(name),
  );
  return flatten(Object.fromEntries(rest));
}

/** What the run noted of itself: user, host, command … */
export function provenance(trial: Trial): Fact[] {
  const { run } = trial.metadata;
  return run !== null && typeof run === "object" && !Array.isArray(run) ? flatten(run) : [];
}

export interface Output {
  /** "out", "err", or with a rank: "out_1". */
  name: string;
  text: string;
}

/** The captured output by stream. */
export function outputOf(trial: Trial): Output[] {
  return Object.entries(trial.metadata)
    .filter(([name]) => OUTPUT.test(name))
    .map(([name, value]) => ({ name, text: textOf(value) }))
    .filter(({ text }) => text !== "")
    .sort((a, b) => (a.name < b.name ? 1 : -1));
}

function textOf(value: Value): string {
  if (typeof value === "string") return value;
  return Array.isArray(value) ? value.map((line) => String(line).replace(/\n$/, "")).join("\n") : "";
}

/** "Output", "Errors of rank 1". */
export function outputTitle(name: string): string {
  const [stream = "", rank] = name.split("_");
  return `${stream === "out" ? "Output" : "Error output"}${rank === undefined ? "" : ` of rank ${rank}`}`;
}

export interface Dropped {
  points: number;
  reasons: [string, number][];
}

/** What was logged and could not be stored. */
export function droppedOf(trial: Trial): Dropped | null {
  const dropped = trial.metadata.dropped_points;
  if (dropped === null || typeof dropped !== "object" || Array.isArray(dropped)) return null;
  const { points, reasons } = dropped;
  if (typeof points !== "number" || points === 0) return null;
  const known = reasons !== null && typeof reasons === "object" && !Array.isArray(reasons) ? reasons : {};
  return {
    points,
    reasons: Object.entries(known ?? {}).map(([reason, count]) => [reason, Number(count)]),
  };
}
