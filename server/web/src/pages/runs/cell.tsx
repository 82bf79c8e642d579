// One value in the table.
import type { JSX } from "preact";
import type { Value } from "../../api";
import {
  floatOf,
  formatAge,
  formatDuration,
  formatMoment,
  formatNumber,
  formatTime,
  formatValue,
  numberOf,
} from "../../format";
import { Status, statusKind } from "../../parts/status";
import type { Run } from "../../runs";
import type { Column } from "./columns";

/** Whether the cells of a column stand on the right, so that digits are below digits. */
export function isRight(column: Column): boolean {
  return column.kind === "number" || column.kind === "duration";
}

/** What a cell shows; `now` is in seconds, for what goes on. */
export function Cell(props: { column: Column; value: Value; run: Run; now: number }): JSX.Element | string {
  const { column, value, run, now } = props;
  switch (column.kind) {
    case "status":
      return <StatusCell run={run} now={now} />;
    case "moment":
      return typeof value === "number" ? <time title={formatMoment(value)}>{formatTime(value)}</time> : "";
    case "duration": {
      const seconds = column.name === "duration" ? durationOf(run, now) : floatOf(value);
      return seconds === null ? "" : formatDuration(seconds);
    }
    default: {
      const number = numberOf(value);
      if (number === null) return formatValue(value);
      return Number.isFinite(Number(number)) ? (
        <span title={String(number)}>{formatNumber(number, 4)}</span>
      ) : (
        <span class="odd">{formatNumber(number)}</span>
      );
    }
  }
}

/** How long a run took, or has taken so far. */
export function durationOf(run: Run, now: number): number | null {
  if (run.started === null) return null;
  if (run.ended !== null) return run.ended - run.started;
  const until = statusKind(run.status) === "running" ? now : run.seen;
  return until === null ? null : Math.max(0, until - run.started);
}

/** The status, and for a run that should be alive how long ago it last was. */
function StatusCell({ run, now }: { run: Run; now: number }): JSX.Element {
  const kind = statusKind(run.status);
  const silent = run.seen === null ? null : now - run.seen;
  const shown = silent !== null && ((kind === "running" && silent >= 5) || kind === "lost");
  return (
    <>
      <Status status={run.status} />
      {shown && (
        <span class="hint silent" title={`The last sign of life came ${formatMoment(run.seen ?? 0)}`}>
          {formatAge(silent)}
        </span>
      )}
    </>
  );
}
