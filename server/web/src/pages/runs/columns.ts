// The columns of the table of runs: what they are called, how they are shown, which are there by default. Pure.
import type { Field, Fields } from "../../api";

export const STATISTICS = ["last", "min", "max", "mean", "count"] as const;
export type Statistic = (typeof STATISTICS)[number];
export type ColumnKind = "text" | "number" | "moment" | "duration" | "status";

export interface Column {
  /** In the notation of queries: `metrics.loss.min`. */
  name: string;
  label: string;
  /** Where it comes from: "Run", "Parameter", "Tag", "Metadata", "Metric", "Timer". */
  group: string;
  kind: ColumnKind;
  /** Pixels. */
  width: number;
  /** Of a metric: the series, and which of its statistics. */
  series?: string;
  statistic?: Statistic;
}

/** Columns of a run's own. */
export const OWN_COLUMNS: readonly Column[] = [
  { name: "status", label: "Status", group: "Run", kind: "status", width: 124 },
  { name: "created", label: "Created", group: "Run", kind: "moment", width: 104 },
  { name: "started", label: "Started", group: "Run", kind: "moment", width: 104 },
  { name: "ended", label: "Ended", group: "Run", kind: "moment", width: 104 },
  { name: "duration", label: "Duration", group: "Run", kind: "duration", width: 88 },
  { name: "seen", label: "Last sign", group: "Run", kind: "moment", width: 104 },
  { name: "project", label: "Project", group: "Run", kind: "text", width: 130 },
  { name: "group", label: "Group", group: "Run", kind: "text", width: 130 },
  { name: "uid", label: "Uid", group: "Run", kind: "text", width: 130 },
  { name: "version", label: "Version", group: "Run", kind: "text", width: 110 },
  { name: "description", label: "Note", group: "Run", kind: "text", width: 200 },
];
/** Whether a name of an address may be that of a column. */
export const isColumn = (name: string): boolean =>
  /^(?:parameters|tags|metadata|metrics|chronos)\../.test(name) ||
  OWN_COLUMNS.some((column) => column.name === name);

/** Whether an order of an address, in the notation of queries, may be one of runs. */
export const isOrder = (name: string): boolean => {
  const bare = name.replace(/^-/, "");
  return isColumn(bare) || bare === "name" || bare === "id";
};

const TIMES = ["started", "duration"];
const TREES: Record<string, string> = { parameters: "Parameter", tags: "Tag", metadata: "Metadata" };
/** What is noted of every run and says nothing about the experiment. */
const NOTED = /^metadata\.(?:colour|hidden|heartbeat|views)$|^metadata\.(?:run\.|_)/;
const MOST_VALUES = 14;
const MOST_METRICS = 6;

/** A metric or timer and its statistic, from a column's name; null if it is neither. */
export function splitSeries(
  name: string,
): { root: string; series: string; statistic: Statistic | null } | null {
  const root = name.split(".", 1)[0] ?? "";
  if (root !== "metrics" && root !== "chronos") return null;
  const rest = name.slice(root.length + 1);
  const dot = rest.lastIndexOf(".");
  const statistic = STATISTICS.find((one) => one === rest.slice(dot + 1));
  return dot > 0 && statistic !== undefined
    ? { root, series: rest.slice(0, dot), statistic }
    : { root, series: rest, statistic: null };
}

/** The column of a series with one of its statistics. */
export function seriesColumn(root: string, series: string, statistic: Statistic): string {
  return `${root}.${series}.${statistic}`;
}

function isNumeric(field: Field | undefined): boolean {
  return field !== undefined && field.numbers > field.texts + field.others;
}

/** How a column is shown. */
export function describeColumn(name: string, fields: Fields | null): Column {
  const own = OWN_COLUMNS.find((column) => column.name === name);
  if (own !== undefined) return own;
  const found = splitSeries(name);
  if (found !== null) {
    const { root, series, statistic } = found;
    const kind = root === "chronos" && statistic !== "count" ? "duration" : "number";
    const group = root === "metrics" ? "Metric" : "Timer";
    const used = statistic ?? (root === "metrics" ? "last" : "mean");
    const width = Math.min(220, Math.round(series.length * 7.2 + used.length * 6 + 52));
    return { name, label: series, group, kind, width, series, statistic: used };
  }
  const tree = name.split(".", 1)[0] ?? "";
  const field = fields?.fields.find((one) => one.name === name);
  const numeric = isNumeric(field);
  const label = name.slice(tree.length + 1) || name;
  const longest = Math.max(0, ...(field?.values ?? []).map((value) => String(value).length));
  const width = Math.round(
    Math.min(220, Math.max(numeric ? 84 : 92, label.length * 7 + 34, longest * 6.5 + 22)),
  );
  return { name, label, group: TREES[tree] ?? "Run", kind: numeric ? "number" : "text", width };
}

/** The columns where none were chosen: what differs between these runs, and their metrics. */
export function defaultColumns(fields: Fields | null, project: string | null): string[] {
  const first = project === null ? ["status", "project", ...TIMES] : ["status", ...TIMES];
  if (fields === null) return first;
  const differing = fields.fields.filter((field) => field.differs && !NOTED.test(field.name));
  const from = (tree: string) => differing.filter((field) => field.name.startsWith(`${tree}.`));
  const values = [...from("parameters"), ...from("tags"), ...from("metadata").slice(0, 3)];
  const metrics = fields.series
    .filter((series) => series.kind === "metric" && !series.name.includes("{source="))
    .sort((one, other) => other.trials - one.trials)
    .slice(0, MOST_METRICS);
  return [
    ...first,
    ...metrics.map((series) => seriesColumn("metrics", series.name, "last")),
    ...values.slice(0, MOST_VALUES).map((field) => field.name),
  ];
}

/** Every column that there could be, for the chooser. */
export function allColumns(fields: Fields | null): Column[] {
  const names = [
    ...OWN_COLUMNS.map((column) => column.name),
    ...(fields?.series ?? []).flatMap(({ kind, name }) =>
      kind === "metric"
        ? [seriesColumn("metrics", name, "last")]
        : kind === "chrono"
          ? [seriesColumn("chronos", name, "mean")]
          : [],
    ),
    ...(fields?.fields ?? []).map((field) => field.name),
  ];
  return names.map((name) => describeColumn(name, fields));
}

/** How a list is sorted by a column: not, upwards, downwards. */
export function directionOf(order: readonly string[], name: string): "ascending" | "descending" | "none" {
  if (order.includes(name)) return "ascending";
  return order.includes(`-${name}`) ? "descending" : "none";
}

/**
 * The order after a click on a column: upwards, then downwards, then as before. With `add` the others stay, and the
 * column is added to them.
 */
export function nextOrder(order: readonly string[], name: string, add: boolean): string[] {
  const direction = directionOf(order, name);
  const next = direction === "none" ? [name] : direction === "ascending" ? [`-${name}`] : [];
  if (!add) return next;
  const at = order.findIndex((one) => one === name || one === `-${name}`);
  return at < 0 ? [...order, ...next] : [...order.slice(0, at), ...next, ...order.slice(at + 1)];
}

/** A list with one of its items at another place. */
export function moved(items: readonly string[], item: string, to: number): string[] {
  const rest = items.filter((one) => one !== item);
  return [...rest.slice(0, to), item, ...rest.slice(to)];
}

/** Whether a metric tells how well a run does, by its name: no learning rate is better than another. */
export function isJudged(series: string): boolean {
  return !/(^|[/_.\s-])(lr|learning[_\s-]?rate|epoch|step|momentum|weight[_\s-]?decay|temperature)s?($|[/_.{\s-])/i.test(
    series,
  );
}

/** Whether the greater value of a metric is the better one, by its name. */
export function greaterIsBetter(series: string): boolean {
  return /acc|auc|f1|score|reward|return|precision|recall|bleu|rouge|iou|dice|psnr|ssim|r2|map\b/i.test(
    series,
  );
}
