// What the page of a run says of it, from the trial's document. Pure functions.
import type { Trial, Value } from "../../api";
import { flatten } from "../../flat";
import { formatValue } from "../../format";

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

export interface HeadFact {
  name: string;
  text: string;
  /** What it is in full. */
  title: string;
}

const COMMIT_DIGITS = 10;

/** What the head of the page says of where a run comes from: host, ranks, commit and command. */
export function headFacts(trial: Trial): HeadFact[] {
  const noted = new Map(provenance(trial).map(({ name, value }) => [name, value]));
  const text = (name: string) => formatValue(noted.get(name));
  const { ranks } = trial.metadata;
  const known = Array.isArray(ranks) ? ranks.length : noted.has("rank") ? 1 : 0;
  const commit = text("git.commit");
  const changed = noted.get("git.dirty") === true ? " + changes" : "";
  return [
    { name: "Host", text: text("host"), title: `${text("user")}@${text("host")}` },
    {
      name: "Ranks",
      text: known === 0 ? "" : noted.has("world_size") ? `${known} of ${text("world_size")}` : String(known),
      title: Array.isArray(ranks) ? ranks.map(formatValue).join(", ") : text("rank"),
    },
    {
      name: "Git",
      text: commit === "" ? "" : `${commit.slice(0, COMMIT_DIGITS)}${changed}`,
      title: `${commit}${changed}`,
    },
    { name: "Command", text: text("command"), title: text("command") },
  ].filter((fact) => fact.text !== "");
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
