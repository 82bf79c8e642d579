// What a report contains: it is written into the page as JSON. Pure.
import type { Columns, Value } from "../api";

/** A run, and what is known of it. */
export interface ReportRun {
  id: string;
  name: string;
  status: string;
  colour: Value;
  started: number | null;
  ended: number | null;
  notes: string | null;
  tags: { [name: string]: Value };
  parameters: { [name: string]: Value };
  /** Statistics of each metric by its name. */
  metrics: { [name: string]: { [statistic: string]: Value } };
}

/** A series: its arrays are float64, little-endian, in base64, or "=" and the name of one that is the same. */
export interface ReportSeries {
  run: string;
  kind: string;
  name: string;
  axis: Columns["axis"];
  exact: boolean;
  count: number;
  total: number;
  arrays: { [name: string]: string };
}

export interface Report {
  title: string;
  store: string;
  /** When it was made, in seconds since the epoch. */
  time: number;
  /** Runs that were found beside those that are shown. */
  left_out: number;
  runs: ReportRun[];
  series: ReportSeries[];
}

/** The columns of a series. */
export function columnsOf(series: ReportSeries): Columns {
  const arrays: Record<string, Float64Array> = {};
  for (const [name, text] of Object.entries(series.arrays)) {
    // The one that it is the same as comes before it.
    arrays[name] = text.startsWith("=") ? (arrays[text.slice(1)] as Float64Array) : floatsOf(text);
  }
  const { axis, exact, count, total } = series;
  return { axis, exact, count, total, ...arrays } as Columns;
}

function floatsOf(base64: string): Float64Array {
  const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
  return new Float64Array(bytes.buffer);
}
