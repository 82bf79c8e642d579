// No run: how to log a first one, or which part of the filter leaves none.
import type { JSX } from "preact";
import { call, compileFilter } from "../../api";
import { formatCount } from "../../format";
import { both, NOT_HIDDEN, useFetch, useSession } from "../../hooks";
import { writeJson } from "../../json";
import { Empty } from "../../parts/states";
import { setParams, text, useFilter, useProject, useShowHidden } from "../../state";
import { partsOf } from "./parts";

/** Instead of an empty table. */
export function NoRuns(): JSX.Element {
  const [filter] = useFilter();
  return filter.trim() === "" ? <FirstRun /> : <NoMatch filter={filter} />;
}

/** The lines that log a first run to this store. */
export function FirstRun(): JSX.Element {
  const { uri } = useSession();
  const [project] = useProject();
  return (
    <Empty title="No runs yet">
      <p>This logs a first one, which appears here at once:</p>
      <pre class="snippet">
        <code>
          {`import track\n\ntrack.init(${writeJson(project ?? "first")}, uri=${writeJson(uri)})\nfor step in range(100):\n    track.log({"loss": 1 / (step + 1)}, step=step)`}
        </code>
      </pre>
    </Empty>
  );
}

function NoMatch({ filter }: { filter: string }): JSX.Element {
  const [project] = useProject();
  const [showHidden] = useShowHidden();
  const parts = partsOf(filter);
  const { data } = useFetch(writeJson(["parts", filter, project, showHidden]), (signal) =>
    Promise.all(
      parts.map(async (part) => {
        const query = await compileFilter(part, project, signal);
        const table = {
          query: showHidden ? query : both(query, NOT_HIDDEN),
          columns: [],
          start: 0,
          limit: 1,
        };
        return (await call("fetch_table", table, signal)).total;
      }),
    ),
  );
  return (
    <Empty title="No run matches the filter">
      {parts.length > 1 && (
        <table class="parts">
          <caption>Each part alone would leave</caption>
          <tbody>
            {parts.map((part, at) => (
              <tr key={part}>
                <th scope="row" class="code">
                  {part}
                </th>
                <td class="right">{data === null ? "" : formatCount(data[at] ?? 0)}</td>
                <td>
                  <button
                    type="button"
                    class="link"
                    onClick={() => {
                      const rest = parts.filter((one) => one !== part).join(" and ");
                      setParams({ filter: text().write(rest) }, false);
                    }}
                  >
                    Leave it out
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <button type="button" class="button" onClick={() => setParams({ filter: null }, false)}>
        Show all runs
      </button>
    </Empty>
  );
}
