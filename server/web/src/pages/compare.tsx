// Compare: the selected runs as columns, and what differs between them as rows.
import type { JSX } from "preact";
import { useMemo, useRef, useState } from "preact/hooks";
import { call, fetchBlob, type Trial, type TrialId, type Value } from "../api";
import { chartsOf } from "../charts/names";
import { hasText } from "../find";
import {
  formatCount,
  formatDuration,
  formatMoment,
  formatNumber,
  formatValue,
  isWhole,
  numberOf,
  plural,
} from "../format";
import { useFetch, useLive } from "../hooks";
import { parseJson, writeJson } from "../json";
import { Icon } from "../parts/icons";
import { Link } from "../parts/link";
import { Menu, MenuItem } from "../parts/menu";
import { SearchField } from "../parts/search";
import { Empty, ErrorBox, Loading } from "../parts/states";
import { notify, notifyError } from "../parts/toasts";
import { type Run, runOfTrial, useDrawn, useRuns } from "../runs";
import { choice, flag, optional, optionalList, text, useParam, useSelection } from "../state";
import { ChartCard } from "./charts/card";
import { SIZES, useCards } from "./charts/settings";
import { SizeChoice } from "./charts/size";
import { DiffDialog, type TextSource } from "./compare/diff";
import {
  csvOf,
  type Delta,
  deltaOf,
  isLong,
  type Row,
  rowsOf,
  SECTIONS,
  type Section,
  shownRows,
} from "./compare/rows";
import { fetchItems, field, inlineText } from "./media/data";
import { STATISTICS, type Statistic } from "./runs/columns";
import { NoRuns } from "./runs/empty";
import "./charts.css";
import "./compare.css";

/** Columns side by side; and how many where nothing is selected. */
const MOST_RUNS = 20;
const FIRST_RUNS = 5;
const FIRST_CHARTS = 4;
const REFRESH_MS = 1_000;

const useAll = () => useParam("cmp.all", flag);
const useBase = () => useParam("cmp.base", optional);
const useStatistics = () => useParam("cmp.stats", optionalList);

export default function Compare(): JSX.Element {
  const drawn = useDrawn();
  const { total } = useRuns();
  const [selection, setSelection] = useSelection();
  const isSelected = selection.length > 0;
  const ids = isSelected ? selection.slice(0, MOST_RUNS) : drawn.slice(0, FIRST_RUNS).map((run) => run.id);
  const { data, error, again } = useFetch(ids.length === 0 ? null : writeJson(ids), (signal) =>
    call("fetch_trials", { query: { id: { $in: ids } } }, signal),
  );
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useLive((change) => {
    if (!change.reset && !ids.some((id) => change.trials.has(id) || change.deleted.has(id))) return;
    timer.current ??= setTimeout(() => {
      timer.current = null;
      again();
    }, REFRESH_MS);
  });
  const order = ids.join();
  // biome-ignore lint/correctness/useExhaustiveDependencies: `order` is the content of `ids`
  const trials = useMemo(() => {
    const byId = new Map((data ?? []).map((trial) => [trial.id, trial]));
    return ids.map((id) => byId.get(id)).filter((trial) => trial !== undefined);
  }, [data, order]);
  if (error !== null && data === null) return <ErrorBox error={error} again={again} />;
  if (ids.length === 0) {
    return total === null ? <Loading /> : total === 0 ? <NoRuns /> : <HowToSelect />;
  }
  if (data === null) return <Loading />;
  if (trials.length === 0) {
    return data.length > 0 ? (
      <Loading />
    ) : (
      <Empty title="The selected runs are not there">
        <p>They were deleted, or they are in another store.</p>
        <button type="button" class="button" onClick={() => setSelection([])}>
          Select nothing
        </button>
      </Empty>
    );
  }
  const remove = (id: TrialId) => setSelection(trials.map((trial) => trial.id).filter((one) => one !== id));
  return (
    <Columns
      trials={trials}
      note={
        isSelected ? noteOf(selection.length, trials.length) : "The first drawn runs: nothing is selected."
      }
      remove={remove}
    />
  );
}

function noteOf(selected: number, shown: number): string {
  if (selected === 1) return "One run is selected: tick more in the table.";
  if (selected > MOST_RUNS) return `The first ${MOST_RUNS} of ${formatCount(selected)} selected runs.`;
  return shown < selected ? `${plural(selected - shown, "selected run")} cannot be found.` : "";
}

function HowToSelect(): JSX.Element {
  return (
    <Empty title="No run to compare">
      <p>
        Tick runs in the <Link view="runs">table</Link>, or press <kbd>x</kbd> there on each of them and then{" "}
        <kbd>c</kbd>.
      </p>
    </Empty>
  );
}

/** The place of the text in this table that is compared with others. */
interface Opened {
  title: string;
  sources: TextSource[];
  first: number;
  second: number;
}

function Columns(props: {
  trials: readonly Trial[];
  note: string;
  remove: (id: TrialId) => void;
}): JSX.Element {
  const { trials } = props;
  const [all, setAll] = useAll();
  const [find, setFind] = useParam("cmp.find", text());
  const [base, setBase] = useBase();
  const [chosen] = useStatistics();
  const [opened, setOpened] = useState<Opened | null>(null);
  const runs = useMemo(() => trials.map(runOfTrial), [trials]);
  const rows = useMemo(() => {
    const known = chosen === null ? null : STATISTICS.filter((one) => chosen.includes(one));
    return rowsOf(trials, known);
  }, [trials, chosen]);
  // With a single run nothing differs.
  const shown = shownRows(rows, find, all || trials.length === 1);
  const baseAt = runs.findIndex((run) => run.id === base);
  const open = (title: string, sources: TextSource[], run: Run) => {
    const at = sources.findIndex((source) => source.run.id === run.id);
    const against = sources.findIndex((source) => source.run.id === base);
    const other = against >= 0 && against !== at ? against : at === 0 ? 1 : 0;
    // A run is shown against the baseline, or the first one against the second.
    const [first, second] = at === 0 && against < 0 ? [0, Math.min(1, sources.length - 1)] : [other, at];
    setOpened({ title, sources, first, second });
  };
  return (
    <div class="compare">
      <div class="toolbar" role="toolbar" aria-label="Compare">
        <SearchField label="Find rows by name" hint="Find: lr, loss, git" value={find} onChange={setFind} />
        {trials.length > 1 && (
          <label class="check">
            <input
              type="checkbox"
              checked={!all}
              onChange={(event) => setAll(!event.currentTarget.checked)}
            />
            only differences
          </label>
        )}
        {trials.length > 1 && (
          <label>
            baseline
            <select
              value={baseAt < 0 ? "" : (base ?? "")}
              onChange={(event) => setBase(event.currentTarget.value || null)}
            >
              <option value="">none</option>
              {runs.map((run) => (
                <option key={run.id} value={run.id}>
                  {run.name}
                </option>
              ))}
            </select>
          </label>
        )}
        <StatisticsMenu />
        <button
          type="button"
          class="button"
          onClick={() =>
            navigator.clipboard
              .writeText(
                csvOf(
                  runs.map((run) => run.name),
                  shown,
                ),
              )
              .then(() => notify("The table is copied as CSV."), notifyError)
          }
        >
          <Icon name="save" /> Copy as CSV
        </button>
        <span class="grow" />
        <span class="hint" role="status">
          {props.note}{" "}
          {trials.length > 1 && !all && `${formatCount(shown.length)} of ${plural(rows.length, "row")}`}
        </span>
      </div>
      <div class="compare-table" role="region" aria-label="Runs side by side">
        <table>
          <thead>
            <tr>
              <th scope="col" class="corner">
                {plural(trials.length, "run")}
              </th>
              {runs.map((run, at) => (
                <th key={run.id} scope="col" class={at === baseAt ? "base" : undefined}>
                  <RunHead
                    run={run}
                    isBase={at === baseAt}
                    setBase={(on) => setBase(on ? run.id : null)}
                    remove={trials.length > 1 ? () => props.remove(run.id) : null}
                  />
                </th>
              ))}
            </tr>
          </thead>
          {SECTIONS.map((section) => {
            const some = shown.filter((row) => row.section === section);
            return (
              some.length > 0 && (
                <SectionRows
                  key={section}
                  section={section}
                  rows={some}
                  runs={runs}
                  baseAt={baseAt}
                  open={open}
                />
              )
            );
          })}
        </table>
        {shown.length === 0 && (
          <p class="compare-none hint">
            {find.trim() === ""
              ? "These runs have the same values everywhere."
              : rows.length > 0 && shownRows(rows, find, true).length > 0
                ? "What has this name is the same in all of these runs."
                : "Nothing has this name."}
          </p>
        )}
      </div>
      <StoredTexts trials={trials} runs={runs} open={open} />
      <CompareCharts trials={trials} runs={runs} />
      {opened !== null && <DiffDialog {...opened} onClose={() => setOpened(null)} />}
    </div>
  );
}

type Open = (title: string, sources: TextSource[], run: Run) => void;

function StatisticsMenu(): JSX.Element {
  const [chosen, setChosen] = useStatistics();
  return (
    <Menu button="Statistics" label="Statistics of metrics">
      {() => (
        <>
          <MenuItem checked={chosen === null} onClick={() => setChosen(null)}>
            last and best
          </MenuItem>
          {STATISTICS.map((name) => (
            <MenuItem
              key={name}
              checked={chosen?.includes(name) ?? false}
              onClick={() => setChosen(toggled(chosen ?? [], name))}
            >
              {name}
            </MenuItem>
          ))}
        </>
      )}
    </Menu>
  );
}

function toggled(chosen: readonly string[], name: Statistic): readonly string[] | null {
  const next = chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name];
  return next.length === 0 ? null : next;
}

function RunHead(props: {
  run: Run;
  isBase: boolean;
  setBase: (on: boolean) => void;
  remove: (() => void) | null;
}): JSX.Element {
  const { run, isBase } = props;
  return (
    <div class="compare-head">
      <i class="swatch" style={{ background: run.colour }} />
      <Link view="run" patch={{ trial: run.id }} title={run.name}>
        {run.name}
      </Link>
      {props.remove !== null && (
        <>
          <button
            type="button"
            class="quiet small"
            aria-pressed={isBase}
            aria-label={`${run.name} is the baseline`}
            title="Baseline: the others say how far they are from it"
            onClick={() => props.setBase(!isBase)}
          >
            <Icon name="pin" />
          </button>
          <button
            type="button"
            class="quiet small"
            aria-label={`Leave out ${run.name}`}
            title="Leave this run out"
            onClick={props.remove}
          >
            <Icon name="close" />
          </button>
        </>
      )}
    </div>
  );
}

function SectionRows(props: {
  section: Section;
  rows: readonly Row[];
  runs: readonly Run[];
  baseAt: number;
  open: Open;
}): JSX.Element {
  const { section, rows, runs, baseAt } = props;
  return (
    <tbody>
      <tr class="section">
        <th scope="rowgroup">
          {section} <span class="hint">{formatCount(rows.length)}</span>
        </th>
        <td colSpan={runs.length} />
      </tr>
      {rows.map((row) => (
        <tr key={row.name} class={row.differs ? "differs" : undefined}>
          <th scope="row" title={row.name}>
            {row.name}
          </th>
          {runs.map((run, at) => (
            <ValueCell
              key={run.id}
              row={row}
              at={at}
              base={baseAt < 0 || baseAt === at ? null : { value: row.values[baseAt] }}
              onOpen={() => props.open(row.name, sourcesOf(row, runs), run)}
            />
          ))}
        </tr>
      ))}
    </tbody>
  );
}

function sourcesOf(row: Row, runs: readonly Run[]): TextSource[] {
  return runs.flatMap((run, at) => {
    const value = row.values[at];
    const whole = typeof value === "string" ? value : writeJson(value, 2);
    return value === undefined
      ? []
      : [{ run, key: `${run.id} ${row.section} ${row.name}`, load: () => Promise.resolve(whole) }];
  });
}

function ValueCell(props: {
  row: Row;
  at: number;
  base: { value: Value | undefined } | null;
  onOpen: () => void;
}): JSX.Element {
  const { row, at, base } = props;
  const value = row.values[at];
  const isBest = row.best.includes(at);
  const delta = base === null ? null : deltaOf(value, base.value);
  const kind = [
    numberOf(value) === null ? "" : "number",
    isBest ? "best" : "",
    base !== null && writeJson(base.value) !== writeJson(value) ? "changed" : "",
  ].join(" ");
  if (value === undefined) {
    return (
      <td class={`${kind} hint`} title="This run does not have it">
        –
      </td>
    );
  }
  const written = writeValue(row, value);
  return (
    <td class={kind} title={isLong(value) ? undefined : exactly(value)}>
      {isLong(value) ? (
        <button type="button" class="compare-text" title="Compare line by line" onClick={props.onOpen}>
          {written}
        </button>
      ) : (
        <span class="compare-value">{written}</span>
      )}
      {isBest && (
        <span class="compare-best" role="img" aria-label="best" title="The best of these runs">
          ★
        </span>
      )}
      {delta !== null && <span class="compare-delta">{deltaText(delta, row.kind)}</span>}
    </td>
  );
}

const exactly = (value: Value) => (typeof value === "string" ? value : writeJson(value));

function writeValue(row: Row, value: Value): string {
  if (value === null) return "null";
  if (typeof value === "number") {
    if (row.kind === "moment") return formatMoment(value);
    if (row.kind === "duration") return formatDuration(value);
  }
  if (isWhole(value) && row.section !== "Metrics") return String(value);
  if (typeof value === "number") return formatNumber(value, 6);
  const written = formatValue(value);
  return written === "" ? '""' : written.slice(0, 300);
}

function deltaText({ difference, share }: Delta, kind: Row["kind"]): string {
  const sign = difference > 0 ? "+" : "";
  const size = kind === "value" ? formatNumber(difference, 3) : formatDuration(Number(difference));
  const part = share === null || kind === "moment" ? "" : ` (${sign}${formatNumber(100 * share, 2)} %)`;
  return `${sign}${size}${part}`;
}

const TEXT_KINDS = ["text", "file"] as const;

/** Texts and files that several of the runs have stored, such as their code. */
function StoredTexts(props: {
  trials: readonly Trial[];
  runs: readonly Run[];
  open: Open;
}): JSX.Element | null {
  const { trials, runs } = props;
  const names = TEXT_KINDS.flatMap((kind) => {
    const each = trials.map((trial) => {
      const found = trial.media[kind];
      return found !== null && typeof found === "object" ? Object.keys(found) : [];
    });
    return [...new Set(each.flat())].map((name) => ({
      kind,
      name,
      places: each.flatMap((some, at) => (some.includes(name) ? [at] : [])),
    }));
  }).filter(({ places }) => places.length > 1);
  if (names.length === 0) return null;
  const sources = (kind: string, name: string, places: readonly number[]): TextSource[] =>
    places.map((at) => {
      const run = runs[at] as Run;
      const load = async (signal: AbortSignal) => {
        const value = (await fetchItems(run.id, kind, name, signal)).at(-1)?.value ?? null;
        const digest = field(value, "digest");
        return inlineText(value) ?? (digest === null ? "" : (await fetchBlob(digest, signal)).text());
      };
      return { run, key: `${run.id} ${kind} ${name}`, load };
    });
  return (
    <section class="compare-part" aria-label="Texts and files">
      <h2>
        Texts and files <span class="hint">the newest of each run, line by line</span>
      </h2>
      <ul class="compare-names">
        {names.slice(0, 200).map(({ kind, name, places }) => (
          <li key={`${kind} ${name}`}>
            <button
              type="button"
              class="button"
              onClick={() => props.open(name, sources(kind, name, places), runs[places[0] as number] as Run)}
            >
              <Icon name="compare" /> <span>{name}</span>{" "}
              <span class="hint">{plural(places.length, "run")}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function CompareCharts({
  trials,
  runs,
}: {
  trials: readonly Trial[];
  runs: readonly Run[];
}): JSX.Element | null {
  const [chosen, setChosen] = useParam("cmp.charts", optionalList);
  const [size, setSize] = useParam("cmp.size", choice(SIZES, "s"));
  const card = useCards();
  const [find, setFind] = useState("");
  const known = writeJson([...new Set(trials.flatMap((trial) => Object.keys(trial.metrics)))]);
  const charts = useMemo(
    () => chartsOf((parseJson(known) as string[]).map((name) => ({ kind: "metric", name }))),
    [known],
  );
  const drawing = runs.map((run) => `${run.id} ${run.colour} ${run.name}`).join("\n");
  // biome-ignore lint/correctness/useExhaustiveDependencies: a chart draws by these alone
  const drawn = useMemo(() => runs, [drawing]);
  if (charts.length === 0) return null;
  const ids = chosen ?? charts.slice(0, FIRST_CHARTS).map((chart) => chart.id);
  const shown = charts.filter((chart) => ids.includes(chart.id));
  const found = charts.filter((chart) => hasText(chart.title, find));
  return (
    <section class="compare-part" aria-label="Charts">
      <h2>
        Charts{" "}
        <span class="hint">
          {formatCount(shown.length)} of {formatCount(charts.length)}
        </span>
        <Menu class="button" button="Choose" label="Choose charts">
          {() => (
            <>
              {charts.length > 10 && (
                <SearchField label="Find a metric" hint="Find" value={find} onChange={setFind} />
              )}
              {found.slice(0, 100).map((chart) => (
                <MenuItem
                  key={chart.id}
                  checked={ids.includes(chart.id)}
                  onClick={() =>
                    setChosen(
                      ids.includes(chart.id) ? ids.filter((id) => id !== chart.id) : [...ids, chart.id],
                    )
                  }
                >
                  {chart.title}
                </MenuItem>
              ))}
            </>
          )}
        </Menu>
        <SizeChoice size={size} onChange={setSize} />
        <Link view="charts" class="link">
          All charts
        </Link>
      </h2>
      <div class={`chart-grid size-${size}`}>
        {shown.map((chart) => (
          <ChartCard
            key={chart.id}
            spec={chart}
            runs={drawn}
            size={size}
            others={charts}
            {...card(chart.id)}
          />
        ))}
      </div>
    </section>
  );
}
