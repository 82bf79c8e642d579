// Home: all projects, and what runs now.
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { type Columns, call, callBinary, isWhole, type Project, type Query, type SeriesKey } from "../api";
import { floatOf, formatAge, formatCount, formatDuration, formatMoment, formatNumber } from "../format";
import { both, NOT_HIDDEN, useFetch, useLive, useNow } from "../hooks";
import { Link } from "../parts/link";
import { Sparkline } from "../parts/sparkline";
import { ErrorBox, Loading } from "../parts/states";
import { type StatusKind, statusKind, statusWord } from "../parts/status";
import { RUN_COLUMNS, type Run, runOf } from "../runs";
import { optional } from "../state";
import { FirstRun } from "./runs/empty";
import "./home.css";

const REFRESH_MS = 1_000;
const MOST_RUNNING = 24;
const SPARK_COLUMNS = 60;
const RUNNING: Query = both({ status: "Running" }, NOT_HIDDEN);

interface Summary {
  project: Project;
  total: number;
  /** Runs by status, the most frequent first. */
  statuses: [status: string, count: number][];
  /** The last sign of life of any run, in seconds since the epoch. */
  seen: number | null;
}
interface Running {
  run: Run;
  project: string;
}
interface Curve {
  metric: string;
  columns: Columns;
}

/** Groups of one answer, and projects that have no more than those together. */
const MOST_GROUPS = 1_000;
const PROJECTS_AT_ONCE = 100;

async function fetchSummaries(signal: AbortSignal): Promise<Summary[]> {
  const args = { by: ["project_id", "status"], measures: ["seen", "created"], limit: MOST_GROUPS };
  const [projects, first] = await Promise.all([
    call("fetch_projects", { query: {}, fields: ["name", "description"] }, signal),
    call("fetch_groups_of", { ...args, query: NOT_HIDDEN }, signal),
  ]);
  let groups = first;
  if (first.length >= MOST_GROUPS) {
    // The smallest ones are missing: some projects at a time.
    groups = [];
    for (let at = 0; at < projects.length; at += PROJECTS_AT_ONCE) {
      const uids = projects.slice(at, at + PROJECTS_AT_ONCE).map((project) => project.uid);
      const query = both({ project_id: { $in: uids } }, NOT_HIDDEN);
      groups.push(...(await call("fetch_groups_of", { ...args, query }, signal)));
    }
  }
  const summaries = projects.map((project): Summary => {
    const own = groups.filter((group) => group.by[0] === project.uid);
    const times = own.flatMap((group) =>
      group.measures.map((measure) => floatOf(measure.max) ?? Number.NEGATIVE_INFINITY),
    );
    const seen = Math.max(...times);
    return {
      project,
      total: own.reduce((sum, group) => sum + group.count, 0),
      statuses: own.map((group) => [String(group.by[1]), group.count]),
      seen: Number.isFinite(seen) ? seen : null,
    };
  });
  return summaries.sort((one, other) => (other.seen ?? 0) - (one.seen ?? 0));
}

async function fetchRunning(signal: AbortSignal): Promise<{ total: number; rows: Running[] }> {
  const args = {
    query: RUNNING,
    columns: [...RUN_COLUMNS, "project_id"],
    order: ["-started"],
    start: 0,
    limit: MOST_RUNNING,
  };
  const { total, ids, columns } = await call("fetch_table", args, signal);
  const rows = ids.map((id, at) => {
    const values = columns.map((column) => column[at] ?? null);
    return { run: runOf(id, values), project: String(values[RUN_COLUMNS.length] ?? "") };
  });
  return { total, rows };
}

/** One curve for each run: of a loss if there is one, else of the metric that most runs of its project have. */
async function fetchCurves(running: readonly Running[], signal: AbortSignal): Promise<Map<string, Curve>> {
  const metrics = new Map<string, string>();
  const projects = [...new Set(running.map((one) => one.project))];
  await Promise.all(
    projects.map(async (project) => {
      const query = both({ project_id: project }, RUNNING);
      const { series } = await call("fetch_fields", { query }, signal);
      const found = series
        .filter((one) => one.kind === "metric" && !one.name.includes("{source="))
        .sort((one, other) => other.trials - one.trials);
      const metric = found.find((one) => /loss/i.test(one.name)) ?? found[0];
      if (metric !== undefined) metrics.set(project, metric.name);
    }),
  );
  const keys: SeriesKey[] = [];
  for (const { run, project } of running) {
    const metric = metrics.get(project);
    if (metric !== undefined) keys.push([run.id, "metric", metric]);
  }
  if (keys.length === 0) return new Map();
  const args = { series: keys, axis: "ordinal" as const, width: SPARK_COLUMNS };
  const answers = await callBinary("fetch_columns", args, signal);
  const curves = new Map<string, Curve>();
  answers.forEach((columns, at) => {
    const key = keys[at];
    if (key !== undefined && isWhole(columns)) curves.set(key[0], { metric: key[2], columns });
  });
  return curves;
}

/** The first page. */
export function Home(): JSX.Element {
  const summaries = useFetch("summaries", fetchSummaries);
  const running = useFetch("running", fetchRunning);
  const rows = running.data?.rows ?? [];
  const key = rows.length === 0 ? null : `curves ${rows.map((one) => one.run.id).join()}`;
  const curves = useFetch(key, (signal) => fetchCurves(rows, signal));
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useEffect(() => () => clearTimeout(timer.current ?? undefined), []);
  useLive(() => {
    timer.current ??= setTimeout(() => {
      timer.current = null;
      summaries.again();
      running.again();
      curves.again();
    }, REFRESH_MS);
  });
  const now = useNow();
  if (summaries.data === null) {
    return summaries.error === null ? (
      <Loading />
    ) : (
      <ErrorBox error={summaries.error} again={summaries.again} />
    );
  }
  if (summaries.data.length === 0) return <FirstRun />;
  const names = new Map(summaries.data.map(({ project }) => [project.uid, project.name ?? project.uid]));
  return (
    <div class="home">
      {rows.length > 0 && (
        <section aria-label="Running now">
          <h2>
            Running now <span class="hint">{formatCount(running.data?.total ?? 0)}</span>
          </h2>
          <ul class="running-list">
            {rows.map(({ run, project }) => (
              <RunningItem
                key={run.id}
                run={run}
                project={project}
                name={names.get(project) ?? ""}
                curve={curves.data?.get(run.id) ?? null}
                now={now}
              />
            ))}
          </ul>
        </section>
      )}
      <section aria-label="Projects">
        <h2>
          Projects <span class="hint">{formatCount(summaries.data.length)}</span>
        </h2>
        <table class="projects">
          <thead>
            <tr>
              <th scope="col">Project</th>
              <th scope="col" class="right">
                Runs
              </th>
              <th scope="col">Status</th>
              <th scope="col" class="right">
                Last activity
              </th>
            </tr>
          </thead>
          <tbody>
            {summaries.data.map((summary) => (
              <ProjectRow key={summary.project.uid} summary={summary} now={now} />
            ))}
          </tbody>
        </table>
      </section>
    </div>
  );
}

function RunningItem(props: {
  run: Run;
  project: string;
  name: string;
  curve: Curve | null;
  now: number;
}): JSX.Element {
  const { run, project, curve, now } = props;
  const last = curve === null ? null : floatOf(curve.columns.last.at(-1) ?? null);
  const silent = run.seen === null ? null : now - run.seen;
  return (
    <li>
      <Link view="run" patch={{ project: optional.write(project), trial: run.id }} class="running-item">
        <span class="running-name">
          <i class="swatch" style={{ background: run.colour }} />
          <strong>{run.name}</strong>
        </span>
        <span class="hint">{props.name}</span>
        <Sparkline columns={curve?.columns ?? null} colour={run.colour} />
        <span class="running-facts">
          {curve !== null && (
            <span>
              <span class="hint">{curve.metric}</span> {last === null ? "" : formatNumber(last, 4)}
            </span>
          )}
          <span class="hint">
            {run.started === null ? "" : formatDuration(Math.max(0, now - run.started))}
            {silent !== null && silent >= 5 && ` · silent ${formatAge(silent)}`}
          </span>
        </span>
      </Link>
    </li>
  );
}

/** The order of the parts of a project's bar. */
const KINDS: readonly StatusKind[] = [
  "running",
  "completed",
  "stopped",
  "lost",
  "failed",
  "created",
  "other",
];

function ProjectRow({ summary, now }: { summary: Summary; now: number }): JSX.Element {
  const { project, total, statuses, seen } = summary;
  const sorted = [...statuses].sort(
    ([one], [other]) => KINDS.indexOf(statusKind(one)) - KINDS.indexOf(statusKind(other)),
  );
  return (
    <tr>
      <th scope="row">
        <Link
          view="runs"
          patch={{ project: optional.write(project.uid) }}
          title={project.name ?? project.uid}
        >
          {project.name ?? project.uid}
        </Link>
        {project.description && (
          <p class="hint" title={project.description}>
            {project.description}
          </p>
        )}
      </th>
      <td class="right">{formatCount(total)}</td>
      <td>
        <div class="status-bar" aria-hidden="true">
          {sorted.map(([status, count]) => (
            <i key={status} class={`part ${statusKind(status)}`} style={{ flexGrow: count }} />
          ))}
        </div>
        <ul class="status-counts">
          {sorted.map(([status, count]) => (
            <li key={status} class={`status ${statusKind(status)}`}>
              <i class="dot" />
              {formatCount(count)} {statusWord(status)}
            </li>
          ))}
        </ul>
      </td>
      <td class="right">
        {seen === null ? "" : <time title={formatMoment(seen)}>{ago(formatAge(now - seen))}</time>}
      </td>
    </tr>
  );
}

const ago = (age: string) => (age === "now" ? "now" : `${age} ago`);
