// Runs grouped by values: a row for each group, with how many there are, the best, mean ± sd.
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { call, type GroupRow, type Measure, type Query, type Value } from "../../api";
import { filterAnd, filterEquals } from "../../complete";
import { formatCount, formatDuration, formatNumber, formatValue, numberOf } from "../../format";
import { useFetch, useLive } from "../../hooks";
import { writeJson } from "../../json";
import { ErrorBox, Loading } from "../../parts/states";
import { setParams, text, useFilter } from "../../state";
import { type Column, greaterIsBetter } from "./columns";

const MOST_GROUPS = 1_000;
const MOST_MEASURES = 16;
const REFRESH_MS = 2_000;

/** The table of groups. */
export function Groups(props: {
  query: Query;
  by: readonly string[];
  columns: readonly Column[];
}): JSX.Element {
  const { query, by } = props;
  const [filter] = useFilter();
  const measured = props.columns
    .filter((column) => ["number", "duration"].includes(column.kind) && !by.includes(column.name))
    // Metrics first: they are what groups are compared by.
    .sort((one, other) => Number(other.series !== undefined) - Number(one.series !== undefined))
    .slice(0, MOST_MEASURES);
  const args = {
    query,
    by: [...by],
    measures: measured.map((column) => column.name),
    limit: MOST_GROUPS,
  };
  const { data, error, again } = useFetch(writeJson(args), (signal) => call("fetch_groups_of", args, signal));
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useEffect(() => () => clearTimeout(timer.current ?? undefined), []);
  useLive(() => {
    timer.current ??= setTimeout(() => {
      timer.current = null;
      again();
    }, REFRESH_MS);
  });
  if (data === null)
    return error === null ? (
      <Loading of="the groups of all runs" />
    ) : (
      <ErrorBox error={error} again={again} />
    );
  const open = (group: GroupRow) => {
    const conditions = by.map((name, at) => filterEquals(name, group.by[at]));
    const next = conditions.reduce((sum, one) => filterAnd(sum, one), filter);
    setParams({ filter: text().write(next), by: null }, false);
  };
  return (
    <div class="groups">
      <table>
        <thead>
          <tr>
            {by.map((name) => (
              <th key={name} scope="col">
                {name.replace(/^(?:parameters|tags|metadata)\./, "")}
              </th>
            ))}
            <th scope="col" class="right">
              Runs
            </th>
            {measured.map((column) => (
              <th key={column.name} scope="col" class="right" colSpan={2} title={column.name}>
                {column.label} <span class="detail">{column.statistic}</span>
              </th>
            ))}
          </tr>
          <tr class="second">
            <th colSpan={by.length + 1} />
            {measured.map((column) => [
              <th key={`${column.name} best`} scope="col" class="right">
                {column.series === undefined ? "range" : isGreater(column) ? "best (max)" : "best (min)"}
              </th>,
              <th key={`${column.name} mean`} scope="col" class="right">
                mean ± sd
              </th>,
            ])}
          </tr>
        </thead>
        <tbody>
          {data.map((group) => (
            <tr key={writeJson(group.by)}>
              {group.by.map((value, at) => (
                <th key={by[at]} scope="row">
                  {at === 0 ? (
                    <button
                      type="button"
                      class="link"
                      title="Show the runs of this group"
                      onClick={() => open(group)}
                    >
                      {named(value)}
                    </button>
                  ) : (
                    named(value)
                  )}
                </th>
              ))}
              <td class="right">{formatCount(group.count)}</td>
              {group.measures.map((measure, at) => {
                const column = measured[at] as Column;
                return [
                  <td key={`${column.name} best`} class="right">
                    {best(column, measure)}
                  </td>,
                  <td
                    key={`${column.name} mean`}
                    class="right"
                    title={`${measure.count} of ${group.count} runs`}
                  >
                    {mean(column, measure)}
                    {measure.count < group.count && measure.count > 0 && (
                      <span class="detail"> n={measure.count}</span>
                    )}
                  </td>,
                ];
              })}
            </tr>
          ))}
        </tbody>
      </table>
      {data.length >= MOST_GROUPS && (
        <p class="hint menu-note">
          The {formatCount(MOST_GROUPS)} largest groups are listed: filter to see others.
        </p>
      )}
    </div>
  );
}

const named = (value: Value) =>
  value === null ? <span class="hint">none</span> : formatValue(value) || "“”";
const isGreater = (column: Column) => greaterIsBetter(column.series ?? "");

function written(column: Column, value: Value): string {
  const number = numberOf(value);
  if (number === null) return "";
  return column.kind === "duration" ? formatDuration(Number(number)) : formatNumber(number, 4);
}

function best(column: Column, measure: Measure): string {
  if (column.series === undefined) {
    const [low, high] = [written(column, measure.min), written(column, measure.max)];
    return low === high ? low : `${low} … ${high}`;
  }
  return written(column, isGreater(column) ? measure.max : measure.min);
}

function mean(column: Column, measure: Measure): string {
  const middle = written(column, measure.mean);
  const spread = measure.count > 1 ? written(column, measure.sd) : "";
  return spread === "" ? middle : `${middle} ± ${spread}`;
}
