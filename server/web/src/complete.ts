// Completion of filters. Pure: text, place of the caret and the store's fields in; proposals out.
import type { Fields } from "./api";
import { formatValue } from "./format";

export interface Proposal {
  /** What takes the place of the text from `from` to `to`. */
  insert: string;
  label: string;
  /** What it is: a range of values, how many runs have it. */
  hint: string;
}
export interface Completion {
  from: number;
  to: number;
  proposals: Proposal[];
}

const MOST = 12;
const OWN: readonly (readonly [string, string])[] = [
  ["name", "the run's name"],
  ["status", "running, completed, lost …"],
  ["created", "a date, or how long ago: > 2h are the last two hours"],
  ["started", "a date, or how long ago"],
  ["ended", "a date, or how long ago"],
  ["duration", "seconds, or 90s 15m 2h 3d"],
  ["group", "name of the group"],
  ["user", "who ran it"],
  ["host", "where it ran"],
  ["git.commit", "revision of the sources"],
];
const OPERATORS = ["=", "!=", "<", "<=", ">", ">=", "~", "!~", "in (", "exists"];
const WORD = /(?:"[^"]*"?|[\w.\-/:@]|\{[^{}]*\}?)+$/;
const BEFORE_VALUE =
  /([\w.\-/:@"]+(?:\{[^{}]*\})?)\s*(?:<=|>=|!=|!~|==|[<>=~]|(?:not\s+)?in\s*\((?:[^()]*,)?)\s*$/i;
const COMPARISON = /(?:<=|>=|!=|!~|[<>=~])\s*(?:"[^"]*"|[^\s()"<>=!~]+)\s+$|\)\s*$|exists\s+$/i;
const BEGINS = /(?:^|\(|\b(?:and|or|not)\s)\s*$/i;

/** A text in quotes, on one line. */
function quoted(text: string): string {
  const escaped = text
    .replace(/(["\\])/g, "\\$1")
    .replace(/\n/g, "\\n")
    .replace(/\t/g, "\\t");
  return `"${escaped}"`;
}

/** A name as a filter takes it: quoted where it has spaces or special characters. */
export function filterName(name: string): string {
  const dot = name.indexOf(".");
  const root = dot < 0 ? "" : name.slice(0, dot + 1);
  const rest = name.slice(root.length);
  return /^[\w.\-/:@]+$/.test(rest) ? name : `${root}${quoted(rest)}`;
}

/** Words that mean something else in a filter than their text. */
const MEANING = /^(?:and|or|not|in|contains|exists|true|false|null|none|nan|inf)$/i;

/** A value as a filter takes it. */
export function filterValue(value: unknown): string {
  if (typeof value === "string" && (!/^[A-Za-z_][\w.-]*$/.test(value) || MEANING.test(value))) {
    return quoted(value);
  }
  return String(value);
}

/** A condition that a value of a run fulfils, for "only those like this". */
export function filterEquals(name: string, value: unknown): string {
  return value === null || value === undefined
    ? `not ${filterName(name)} exists`
    : `${filterName(name)} = ${filterValue(value)}`;
}

/** Both conditions. */
export function filterAnd(one: string, other: string): string {
  if (one.trim() === "") return other;
  return /\bor\b/i.test(one) ? `(${one}) and ${other}` : `${one} and ${other}`;
}

function rangeOf(field: Fields["fields"][number]): string {
  if (field.min !== null && field.max !== null && field.numbers > 0) {
    return field.min === field.max
      ? formatValue(field.min)
      : `${formatValue(field.min)} … ${formatValue(field.max)}`;
  }
  return field.values.slice(0, 3).map(formatValue).join(", ");
}

function names(fields: Fields): Proposal[] {
  const found: Proposal[] = OWN.map(([name, hint]) => ({ insert: name, label: name, hint }));
  for (const field of fields.fields) {
    found.push({ insert: filterName(field.name), label: field.name, hint: rangeOf(field) });
  }
  for (const series of fields.series) {
    if (series.kind !== "metric" && series.kind !== "chrono") continue;
    const name = `${series.kind === "metric" ? "metrics" : "chronos"}.${series.name}`;
    found.push({ insert: filterName(name), label: name, hint: `${series.trials} runs` });
  }
  return found;
}

function valuesOf(name: string, fields: Fields): Proposal[] {
  if (name === "status") {
    return Object.entries(fields.statuses).map(([status, count]) => {
      const word = filterValue(status.toLowerCase());
      return { insert: word, label: word, hint: `${count} runs` };
    });
  }
  const plain = name.replace(/"/g, "").replace(/^params\./, "parameters.");
  const field = fields.fields.find((one) => one.name === plain || one.name.endsWith(`.${plain}`));
  return (field?.values ?? []).map((value) => {
    const word = filterValue(value);
    return { insert: word, label: formatValue(value), hint: "" };
  });
}

/** Those that begin with the word, then those of which a part does, then those that hold it. */
function ranked(proposals: Proposal[], word: string): Proposal[] {
  const wanted = word.toLowerCase().replace(/"/g, "");
  const rank = ({ label }: Proposal) => {
    const text = label.toLowerCase();
    if (text.startsWith(wanted)) return 0;
    const at = text.indexOf(wanted);
    return at < 0 ? 3 : /[.\-_/ ]/.test(text[at - 1] ?? "") ? 1 : 2;
  };
  return proposals
    .map((proposal) => ({ proposal, rank: rank(proposal) }))
    .filter((one) => one.rank < 3 && one.proposal.insert !== word)
    .sort((one, other) => one.rank - other.rank)
    .map((one) => one.proposal)
    .slice(0, MOST);
}

/** What may stand at the caret. */
export function complete(text: string, caret: number, fields: Fields): Completion {
  const before = text.slice(0, caret);
  const word = WORD.exec(before)?.[0] ?? "";
  const from = caret - word.length;
  const left = before.slice(0, from);
  const value = BEFORE_VALUE.exec(left);
  if (value?.[1] !== undefined) {
    return { from, to: caret, proposals: ranked(valuesOf(value[1], fields), word) };
  }
  if (BEGINS.test(left)) return { from, to: caret, proposals: ranked(names(fields), word) };
  const words = COMPARISON.test(left) ? ["and", "or"] : OPERATORS;
  const proposals = words.map((one) => ({ insert: one, label: one, hint: "" }));
  return { from, to: caret, proposals: ranked(proposals, word) };
}
