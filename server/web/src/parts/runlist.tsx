// The runs on the left: which are drawn, in which colour, in which status.
import type { JSX } from "preact";
import { setHighlighted, useIsHighlighted } from "../charts/highlight";
import { formatCount, plural } from "../format";
import { type Drawing, type Run, useDrawing, useDrawn, useRuns } from "../runs";
import { useDrawLimit, useLocation, useSelection } from "../state";
import { Icon } from "./icons";
import { Link } from "./link";
import { statusKind, statusWord } from "./status";

const LIMITS = [0, 10, 20, 50, 100, 500, 1_000, 5_000];

/** The list of runs in the left column. */
export function RunList(): JSX.Element {
  const { total, rows, others } = useRuns();
  const drawn = useDrawn();
  const { isDrawn, toggle } = useDrawing();
  const [limit, setLimit] = useDrawLimit();
  const dashes = new Map(drawn.map((run) => [run.id, run.dash]));
  return (
    <section class="runlist" aria-label="Runs">
      <header>
        <h2>{total === null ? "Runs" : `${formatCount(total)} ${total === 1 ? "run" : "runs"}`}</h2>
        <label
          class="drawn"
          title={`${plural(drawn.length, "run")} drawn in charts: the first in the order of the table, and those whose eye is opened`}
        >
          draw first
          <select value={String(limit)} onChange={(event) => setLimit(Number(event.currentTarget.value))}>
            {(LIMITS.includes(limit) ? LIMITS : [...LIMITS, limit].sort((a, b) => a - b)).map((count) => (
              <option key={count} value={count}>
                {count === 0 ? "none" : formatCount(count)}
              </option>
            ))}
          </select>
        </label>
      </header>
      <ul>
        {[...others, ...rows].map((run, place) => {
          const at = place < others.length ? Number.POSITIVE_INFINITY : place - others.length;
          return (
            <RunItem
              key={run.id}
              run={run}
              at={at}
              drawn={isDrawn(run.id, at)}
              dash={dashes.get(run.id) ?? []}
              toggle={toggle}
            />
          );
        })}
      </ul>
      {total !== null && total > rows.length && (
        <Link view="runs" class="more">
          All {formatCount(total)} runs in the table
        </Link>
      )}
    </section>
  );
}

function RunItem(props: {
  run: Run;
  /** Its place in the order of the table. */
  at: number;
  drawn: boolean;
  dash: readonly number[];
  toggle: Drawing["toggle"];
}): JSX.Element {
  const { run, drawn, dash } = props;
  const { view, params } = useLocation();
  const [selection] = useSelection();
  const current = view === "run" && params.get("trial") === run.id;
  const highlighted = useIsHighlighted(run.id);
  const kinds = { undrawn: !drawn, current, selected: selection.includes(run.id), highlighted };
  return (
    <li
      class={Object.entries(kinds)
        .flatMap(([name, is]) => (is ? [name] : []))
        .join(" ")}
      onMouseEnter={() => setHighlighted(run.id)}
      onMouseLeave={() => setHighlighted(null)}
    >
      <button
        type="button"
        class="quiet eye"
        aria-pressed={drawn}
        aria-label={`Draw ${run.name}`}
        onClick={() => props.toggle(run.id, props.at)}
      >
        {drawn ? <LineSwatch colour={run.colour} dash={dash} /> : <Icon name="shut" />}
      </button>
      <Link
        view="run"
        patch={{ trial: run.id }}
        title={run.note === "" ? run.name : `${run.name}\n\n${run.note}`}
      >
        {run.name}
      </Link>
      <i
        class={`dot ${statusKind(run.status)}`}
        role="img"
        aria-label={statusWord(run.status)}
        title={statusWord(run.status)}
      />
    </li>
  );
}

/** A line as it is drawn in charts. */
export function LineSwatch({ colour, dash }: { colour: string; dash: readonly number[] }): JSX.Element {
  return (
    <svg class="line-swatch" viewBox="0 0 18 10" aria-hidden="true">
      <path d="M1 5h16" style={{ stroke: colour }} stroke-dasharray={dash.join(" ") || undefined} />
    </svg>
  );
}
