// One run: everything that is known of it.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { call, fetchBlob, type Trial, type TrialId, type Value } from "../api";
import { happeningsOf } from "../charts/marks";
import { chartsOf } from "../charts/names";
import { download } from "../charts/save";
import { hasText } from "../find";
import { flatten } from "../flat";
import {
  formatAge,
  formatBytes,
  formatCount,
  formatDuration,
  formatMoment,
  formatNumber,
  formatValue,
  isWhole,
  numberOf,
  plural,
} from "../format";
import { useFetch, useLive, useNow } from "../hooks";
import { parseJson, writeJson } from "../json";
import { Link } from "../parts/link";
import { Markdown } from "../parts/markdown";
import { SearchField } from "../parts/search";
import { Empty, ErrorBox, Loading } from "../parts/states";
import { Status, statusKind } from "../parts/status";
import { notifyError } from "../parts/toasts";
import { type Run as DrawnRun, runOfTrial } from "../runs";
import { escapeText, useTrial } from "../state";
import { ChartCard, NotSeen } from "./charts/card";
import { useCards, usePins } from "./charts/settings";
import "./charts.css";
import "./run.css";
import {
  droppedOf,
  type Fact,
  headFacts,
  otherMetadata,
  outputOf,
  outputTitle,
  provenance,
} from "./run/facts";
import { RunActions } from "./runs/actions";

const REFRESH_MS = 1_000;
const FIRST_CHARTS = 12;

export default function RunPage(): JSX.Element {
  const [id] = useTrial();
  const { data, error, again } = useFetch(id, (signal) =>
    call("fetch_trials", { query: { id: id as string } }, signal),
  );
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useLive((change) => {
    if (!change.reset && !change.trials.has(id ?? "") && !change.deleted.has(id ?? "")) return;
    timer.current ??= setTimeout(() => {
      timer.current = null;
      again();
    }, REFRESH_MS);
  });
  if (id === null) {
    return (
      <Empty title="No run is chosen">
        <p>
          Choose one in the list on the left, or in the <Link view="runs">table</Link>.
        </p>
      </Empty>
    );
  }
  if (error !== null && data === null) return <ErrorBox error={error} again={again} />;
  if (data === null) return <Loading />;
  const [trial] = data;
  if (trial === undefined || trial.id !== id) {
    // The answer is of the run before, or the run is gone.
    return data.length > 0 ? <Loading /> : <Gone />;
  }
  return <Whole key={id} trial={trial} again={again} />;
}

function Gone(): JSX.Element {
  return (
    <Empty title="This run is not there">
      <p>
        It was deleted, or it is in another store. <Link view="runs">All runs</Link>
      </p>
    </Empty>
  );
}

function Whole({ trial, again }: { trial: Trial; again: () => void }): JSX.Element {
  const run = runOfTrial(trial);
  const dropped = droppedOf(trial);
  const output = outputOf(trial);
  const parameters = flatten(trial.parameters);
  const other = otherMetadata(trial);
  const facts = provenance(trial);
  return (
    <article class="run" aria-label={run.name}>
      <Heading trial={trial} run={run} again={again} />
      {trial.errors.map((text, at) => (
        <details key={at} class="traceback" open={at === trial.errors.length - 1}>
          <summary>{lastLine(text)}</summary>
          <pre>{text}</pre>
        </details>
      ))}
      {dropped !== null && (
        <div class="banner warning" role="alert">
          {plural(dropped.points, "point")} could not be stored:{" "}
          {dropped.reasons.map(([reason, count]) => `${reason} (${formatCount(count)})`).join("; ")}
        </div>
      )}
      {trial.description !== null && trial.description !== "" && (
        <Part title="Notes">
          <Markdown text={trial.description} />
        </Part>
      )}
      <div class="run-columns">
        <Part title="Parameters" count={parameters.length}>
          <FactTable label="Parameters" facts={parameters} none="No parameter was logged." />
        </Part>
        <Part title="Summary" count={Object.keys(trial.metrics).length}>
          <Summary trial={trial} />
        </Part>
        <Part title="Where it runs">
          <FactTable label="Where it runs" facts={facts} none="The run was told to note nothing of itself." />
        </Part>
        {other.length > 0 && (
          <Part title="Metadata" count={other.length}>
            <FactTable label="Metadata" facts={other} none="" />
          </Part>
        )}
      </div>
      <RunCharts trial={trial} run={run} />
      {output.map(({ name, text }) => (
        <OutputText
          key={name}
          title={outputTitle(name)}
          text={text}
          isLive={statusKind(run.status) === "running"}
        />
      ))}
      <MediaParts trial={trial} />
      <Rejected id={trial.id} />
    </article>
  );
}

const lastLine = (text: string) => text.trimEnd().split("\n").at(-1) ?? "";

/** A part of the page with a heading. */
function Part(props: { title: string; count?: number; children: ComponentChildren }): JSX.Element {
  return (
    <section class="run-part" aria-label={props.title}>
      <h2>
        {props.title} {props.count !== undefined && <span class="hint">{formatCount(props.count)}</span>}
      </h2>
      {props.children}
    </section>
  );
}

function Heading({ trial, run, again }: { trial: Trial; run: DrawnRun; again: () => void }): JSX.Element {
  const now = useNow();
  const running = statusKind(run.status) === "running";
  const seen = Math.max(run.seen ?? 0, ...lastTimes(trial));
  const end = run.ended ?? (running ? now : seen);
  const tags = Object.entries(trial.tags);
  return (
    <header class="run-head">
      <div>
        <i class="swatch" style={{ background: run.colour }} />
        <h1>{run.name}</h1>
      </div>
      <div class="run-actions">
        <RunActions selected={[run.id]} hidden={trial.metadata.hidden === true} onDone={again} />
      </div>
      <dl class="run-facts">
        <div>
          <dt>Status</dt>
          <dd>
            <Status status={run.status} />
          </dd>
        </div>
        {run.started !== null && (
          <div>
            <dt>Started</dt>
            <dd title={formatMoment(run.started)}>{formatMoment(run.started)}</dd>
          </div>
        )}
        {run.started !== null && end > run.started && (
          <div>
            <dt>Duration</dt>
            <dd>{formatDuration(end - run.started)}</dd>
          </div>
        )}
        {running && seen > 0 && (
          <div>
            <dt>Last sign of life</dt>
            <dd>{formatAge(now - seen)}</dd>
          </div>
        )}
        <div>
          <dt>Revision</dt>
          <dd>{trial.revision}</dd>
        </div>
        <div>
          <dt>Id</dt>
          <dd class="code" title={trial.uid}>
            {trial.uid.slice(0, 12)}
          </dd>
        </div>
        {headFacts(trial).map(({ name, text, title }) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd class="code head-fact" title={title}>
              {text}
            </dd>
          </div>
        ))}
        {tags.length > 0 && (
          <div>
            <dt>Tags</dt>
            <dd class="tags">
              {tags.map(([name, value]) => (
                <span key={name} class="tag-chip">
                  {value === true ? name : `${name}: ${formatValue(value)}`}
                </span>
              ))}
            </dd>
          </div>
        )}
      </dl>
    </header>
  );
}

function lastTimes(trial: Trial): number[] {
  return Object.values(trial.metrics)
    .map((summary) => summary.last_time)
    .filter((time) => typeof time === "number");
}

function FactTable(props: { label: string; facts: readonly Fact[]; none: string }): JSX.Element {
  const { facts } = props;
  const [find, setFind] = useState("");
  if (facts.length === 0) return <p class="hint">{props.none}</p>;
  const found = facts.filter(({ name }) => hasText(name, find));
  return (
    <>
      {facts.length > 15 && (
        <SearchField label={`Find in ${props.label}`} hint="Find" value={find} onChange={setFind} />
      )}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it is scrolled by the keyboard */}
      <div class="fact-table" tabIndex={0}>
        <table aria-label={props.label}>
          <tbody>
            {found.map(({ name, value }) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td>{isWhole(value) ? String(value) : formatValue(value)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

/** Rows of the summary that are there at once. */
const FIRST_METRICS = 100;
const STATISTICS = ["last", "min", "max", "mean"] as const;

function Summary({ trial }: { trial: Trial }): JSX.Element {
  const all = Object.keys(trial.metrics);
  const [find, setFind] = useState("");
  const [most, setMost] = useState(FIRST_METRICS);
  if (all.length === 0) return <p class="hint">No metric was logged.</p>;
  const found = all.filter((name) => hasText(name, find));
  const names = found.slice(0, most);
  const table = (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it is scrolled by the keyboard
    <div class="fact-table" tabIndex={0}>
      <table aria-label="Summary">
        <thead>
          <tr>
            <th scope="col">metric</th>
            {STATISTICS.map((name) => (
              <th key={name} scope="col" class="number">
                {name}
              </th>
            ))}
            <th scope="col" class="number">
              points
            </th>
          </tr>
        </thead>
        <tbody>
          {names.map((name) => {
            const summary = trial.metrics[name] ?? {};
            return (
              <tr key={name}>
                <th scope="row">{name}</th>
                {STATISTICS.map((statistic) => (
                  <td key={statistic} class="number">
                    {shown(summary[statistic])}
                  </td>
                ))}
                <td class="number">
                  {formatCount(Number(summary.count ?? 0))}
                  {Number(summary.nonfinite ?? 0) > 0 && (
                    <span class="hint"> ({formatCount(Number(summary.nonfinite))} not finite)</span>
                  )}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
  return (
    <>
      {all.length > 15 && <SearchField label="Find in Summary" hint="Find" value={find} onChange={setFind} />}
      {table}
      {found.length > most && (
        <button type="button" class="link" onClick={() => setMost(10 * most)}>
          Show {formatCount(Math.min(9 * most, found.length - most))} more of{" "}
          {formatCount(found.length - most)}
        </button>
      )}
    </>
  );
}

function shown(value: Value | undefined): string {
  const number = numberOf(value);
  return number === null ? formatValue(value) : formatNumber(number);
}

function RunCharts({ trial, run }: { trial: Trial; run: DrawnRun }): JSX.Element | null {
  const names = writeJson([Object.keys(trial.metrics), Object.keys(trial.chronos)]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the names are all that counts
  const charts = useMemo(
    () =>
      chartsOf([
        ...Object.keys(trial.metrics).map((name) => ({ kind: "metric", name })),
        ...Object.keys(trial.chronos).map((name) => ({ kind: "chrono", name })),
      ]),
    [names],
  );
  const { rewinds = null, resumes = null } = trial.metadata;
  const told = writeJson([rewinds, resumes]);
  const happenings = useMemo(() => {
    const [back, again] = parseJson(told) as [Value, Value];
    return happeningsOf({ id: trial.id, colour: run.colour }, back, again);
  }, [told, trial.id, run.colour]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a chart draws by these alone
  const runs = useMemo(() => [run], [run.id, run.colour, run.name]);
  const [shown, setShown] = useState(FIRST_CHARTS);
  const [pins] = usePins();
  const card = useCards();
  if (charts.length === 0) return null;
  const pinned = charts.filter((chart) => pins.includes(chart.id));
  const ordered = [...pinned, ...charts.filter((chart) => !pins.includes(chart.id))];
  return (
    <Part title="Charts" count={charts.length}>
      <NotSeen />
      <div class="chart-grid size-m">
        {ordered.slice(0, shown).map((chart) => (
          <ChartCard
            key={chart.id}
            spec={chart}
            {...{ runs, happenings }}
            size="m"
            others={charts}
            {...card(chart.id)}
          />
        ))}
      </div>
      {shown < charts.length && (
        <button type="button" class="button" onClick={() => setShown(shown + 60)}>
          Show {formatCount(Math.min(60, charts.length - shown))} more of {formatCount(charts.length - shown)}
        </button>
      )}
    </Part>
  );
}

/** Captured output; while the run is live the end stays in sight, unless somebody reads further up. */
function OutputText(props: { title: string; text: string; isLive: boolean }): JSX.Element {
  const { text } = props;
  const box = useRef<HTMLPreElement>(null);
  const follows = useRef(true);
  // biome-ignore lint/correctness/useExhaustiveDependencies: after each new text
  useEffect(() => {
    const element = box.current;
    if (element !== null && follows.current) element.scrollTop = element.scrollHeight;
  }, [text]);
  return (
    <Part title={props.title}>
      <pre
        ref={box}
        class="output"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it is scrolled by the keyboard
        tabIndex={0}
        onScroll={(event) => {
          const { scrollTop, scrollHeight, clientHeight } = event.currentTarget;
          follows.current = scrollTop + clientHeight > scrollHeight - 8;
        }}
      >
        {text}
      </pre>
      <button type="button" class="link" onClick={() => download(text, `${props.title}.txt`)}>
        Save
      </button>
    </Part>
  );
}

const KINDS: readonly [kind: string, title: string][] = [
  ["image", "Images"],
  ["histogram", "Histograms"],
  ["text", "Texts"],
  ["graph", "Graphs"],
];

function MediaParts({ trial }: { trial: Trial }): JSX.Element {
  const series = (kind: string) => {
    const found = trial.media[kind];
    return found !== null && typeof found === "object" && !Array.isArray(found) ? Object.entries(found) : [];
  };
  const files = series("file");
  const patch = { sel: trial.id, trial: trial.id };
  return (
    <>
      {KINDS.filter(([kind]) => series(kind).length > 0).map(([kind, title]) => (
        <Part key={kind} title={title} count={series(kind).length}>
          <ul class="media-names">
            {series(kind).map(([name, summary]) => (
              <li key={name}>
                <Link
                  view={kind === "graph" ? "graph" : "media"}
                  patch={
                    kind === "graph" ? { trial: trial.id } : { ...patch, "media.name": escapeText(name) }
                  }
                >
                  {name}
                </Link>{" "}
                <span class="hint">{countOf(summary)}</span>
              </li>
            ))}
          </ul>
        </Part>
      ))}
      {files.length > 0 && (
        <Part title="Files" count={files.length}>
          <Files id={trial.id} names={files.map(([name]) => name)} />
        </Part>
      )}
    </>
  );
}

function countOf(summary: Value): string {
  const count =
    summary !== null && typeof summary === "object" && !Array.isArray(summary) ? summary.count : null;
  return typeof count === "number" ? formatCount(count) : "";
}

interface StoredFile {
  name: string;
  step: Value;
  size: number;
  digest: string;
}

function Files({ id, names }: { id: TrialId; names: readonly string[] }): JSX.Element {
  const { data, error } = useFetch(writeJson([id, names]), async (signal) => {
    const found: StoredFile[] = [];
    for (const name of names.slice(0, 200)) {
      const points = await call("fetch_metrics", { trial: id, name, kind: "file", limit: 1_000 }, signal);
      const values = Array.isArray(points.values) ? points.values : [];
      const steps = Array.isArray(points.steps) ? points.steps : [];
      values.forEach((value, at) => {
        if (value === null || typeof value !== "object" || Array.isArray(value)) return;
        found.push({
          name: String(value.name ?? name),
          step: steps[at] ?? null,
          size: Number(value.size ?? 0),
          digest: String(value.digest ?? ""),
        });
      });
    }
    return found;
  });
  if (error !== null && data === null) return <p class="fault">{error.message}</p>;
  const save = (file: StoredFile) => {
    fetchBlob(file.digest).then((blob) => download(blob, file.name.split("/").at(-1) ?? "file"), notifyError);
  };
  return (
    <div class="fact-table">
      <table aria-label="Files">
        <tbody>
          {(data ?? []).map((file, at) => (
            <tr key={at}>
              <th scope="row">
                <button type="button" class="link" onClick={() => save(file)}>
                  {file.name}
                </button>
              </th>
              <td>{file.step === null ? "" : `step ${formatValue(file.step)}`}</td>
              <td class="number">{formatBytes(file.size)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** Records of this run that can never be stored. */
function Rejected({ id }: { id: TrialId }): JSX.Element | null {
  const { data } = useFetch(`rejected ${id}`, (signal) =>
    call("fetch_rejected", { trial: id, limit: 50 }, signal),
  );
  if (data === null || data.length === 0) return null;
  return (
    <Part title="Rejected" count={data.length}>
      <p class="hint">What a process logged and the store refused, with the reason.</p>
      <div class="fact-table">
        <table aria-label="Rejected">
          <tbody>
            {data.map((record, at) => (
              <tr key={at}>
                <th scope="row">{formatValue(record.names) || formatValue(record.method)}</th>
                <td>{formatValue(record.message ?? record.error ?? record.code)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Part>
  );
}
