// Names of series: base, context, and the section of the page in which a chart stands. Pure functions.

export interface SeriesName {
  /** `loss` of `loss{split="val"}`. */
  base: string;
  /** `split="val"`; empty without. */
  context: string;
}

/** The parts of a series' name. */
export function partsOf(name: string): SeriesName {
  const open = name.indexOf("{");
  return open > 0 && name.endsWith("}")
    ? { base: name.slice(0, open), context: name.slice(open + 1, -1) }
    : { base: name, context: "" };
}

/** A chart: one metric in all its contexts, or several that were put together. */
export interface ChartSpec {
  /** Tells it from the others, in the address, too. */
  id: string;
  title: string;
  section: string;
  kind: string;
  /** Names of the series. */
  names: readonly string[];
}

export const SYSTEM = "system";
export const TIMERS = "timers";
/** The section of metrics whose name has no prefix. */
export const PLAIN = "metrics";

const isSystem = (context: string) => /(^|,)\s*source="system"/.test(context);

/** The section of a series: what the system measures, timers, or the part of the name before the first slash. */
export function sectionOf(kind: string, name: string): string {
  const { base, context } = partsOf(name);
  if (kind === "chrono") return TIMERS;
  if (isSystem(context)) return SYSTEM;
  const slash = base.indexOf("/");
  return slash > 0 ? base.slice(0, slash) : PLAIN;
}

/** Charts of the series that there are, by section: plain metrics first, the system's and timers last. */
export function chartsOf(series: readonly { kind: string; name: string }[]): ChartSpec[] {
  const charts = new Map<string, { kind: string; section: string; title: string; names: string[] }>();
  for (const { kind, name } of series) {
    if (kind !== "metric" && kind !== "chrono") continue;
    const section = sectionOf(kind, name);
    const title = partsOf(name).base;
    const id = kind === "metric" && section !== SYSTEM ? title : `${section}:${title}`;
    const chart = charts.get(id) ?? { kind, section, title, names: [] };
    chart.names.push(name);
    charts.set(id, chart);
  }
  const place = (section: string) =>
    section === PLAIN ? 0 : section === SYSTEM ? 2 : section === TIMERS ? 3 : 1;
  return [...charts]
    .map(([id, chart]) => ({ id, ...chart, names: chart.names.sort(compareNames) }))
    .sort(
      (a, b) =>
        place(a.section) - place(b.section) ||
        compareNames(a.section, b.section) ||
        compareNames(a.title, b.title),
    );
}

const collator = new Intl.Collator("en", { numeric: true });
export const compareNames = (a: string, b: string): number => collator.compare(a, b);

/** What tells apart the series of one chart: the context, or the whole name where charts were put together. */
export function labelOf(name: string, chart: ChartSpec): string {
  const { base, context } = partsOf(name);
  const together = new Set(chart.names.map((one) => partsOf(one).base)).size > 1;
  const short = context.replace(/"/g, "").replace(/=/g, " ").replace(/,\s*/g, ", ");
  return together ? (short === "" ? base : `${base} ${short}`) : short;
}

/** What is wrong with a regular expression; null for nothing. */
export function faultOf(expression: string): string | null {
  try {
    new RegExp(expression);
    return null;
  } catch (error) {
    // Browsers say the whole expression again in front of it.
    return (error as Error).message.split(": ").at(-1) ?? "";
  }
}

/** The charts whose title or a series' name a regular expression finds; all of them for a wrong one. */
export function matching(charts: readonly ChartSpec[], wanted: string): readonly ChartSpec[] {
  if (wanted === "" || faultOf(wanted) !== null) return charts;
  const expression = new RegExp(wanted, "i");
  return charts.filter(({ title, names }) => [title, ...names].some((name) => expression.test(name)));
}
