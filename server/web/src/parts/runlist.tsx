// The runs on the left: which are drawn, in which colour, in which status.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { formatCount } from "../format";
import { type Run, useDrawn, useRuns } from "../runs";
import { useDrawLimit, useLocation, useSelection, useUndrawn } from "../state";
import { Icon } from "./icons";
import { Link } from "./link";
import { statusKind, statusWord } from "./status";

const LIMITS = [10, 20, 50, 100, 500];

/** The list of runs in the left column. */
export function RunList(): JSX.Element {
  const { total, rows } = useRuns();
  const drawn = useDrawn();
  const [off, setOff] = useUndrawn();
  const [limit, setLimit] = useDrawLimit();
  const isDrawn = useMemo(() => new Set(drawn.map((run) => run.id)), [drawn]);
  const toggle = (run: Run) =>
    setOff(off.includes(run.id) ? off.filter((id) => id !== run.id) : [...off, run.id]);
  return (
    <section class="runlist" aria-label="Runs">
      <header>
        <h2>{total === null ? "Runs" : `${formatCount(total)} ${total === 1 ? "run" : "runs"}`}</h2>
        <label
          class="drawn"
          title={`${formatCount(drawn.length)} runs are drawn in charts, in the order of the table`}
        >
          draw first
          <select value={String(limit)} onChange={(event) => setLimit(Number(event.currentTarget.value))}>
            {(LIMITS.includes(limit) ? LIMITS : [...LIMITS, limit]).map((count) => (
              <option key={count} value={count}>
                {count}
              </option>
            ))}
          </select>
        </label>
      </header>
      <ul>
        {rows.map((run, at) => (
          <RunItem
            key={run.id}
            run={run}
            drawn={isDrawn.has(run.id)}
            beyond={at >= limit + off.length}
            toggle={toggle}
          />
        ))}
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
  drawn: boolean;
  beyond: boolean;
  toggle: (run: Run) => void;
}): JSX.Element {
  const { run, drawn, beyond, toggle } = props;
  const { view, params } = useLocation();
  const [selection] = useSelection();
  const current = view === "run" && params.get("trial") === run.id;
  return (
    <li
      class={`${drawn ? "" : "undrawn"}${current ? " current" : ""}${selection.includes(run.id) ? " selected" : ""}`}
    >
      <button
        type="button"
        class="quiet eye"
        aria-pressed={drawn}
        aria-label={`Draw ${run.name}`}
        disabled={beyond}
        onClick={() => toggle(run)}
      >
        {drawn ? <i class="swatch" style={{ background: run.colour }} /> : <Icon name="shut" />}
      </button>
      <Link view="run" patch={{ trial: run.id }} title={run.name}>
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
