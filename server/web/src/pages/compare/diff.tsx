// The window in which a text of one run stands against that of another.
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { diffLines } from "../../diff";
import { formatCount, plural } from "../../format";
import { useFetch } from "../../hooks";
import { writeJson } from "../../json";
import { Dialog } from "../../parts/dialog";
import type { Run } from "../../runs";
import { withContext } from "./rows";

export interface TextSource {
  run: Run;
  /** What is fetched, as a text: the same source has the same key. */
  key: string;
  load: (signal: AbortSignal) => Promise<string>;
}

const SIGNS = { same: "  ", added: "+ ", removed: "− " } as const;

/** Lines of two texts; which runs they are of can be chosen. */
export function DiffDialog(props: {
  title: string;
  sources: readonly TextSource[];
  first: number;
  second: number;
  onClose: () => void;
}): JSX.Element {
  const { sources } = props;
  const [left, setLeft] = useState(props.first);
  const [right, setRight] = useState(props.second);
  const [whole, setWhole] = useState(false);
  const before = sources[left];
  const after = sources[right];
  const { data, error } = useFetch(writeJson([before?.key, after?.key]), async (signal) => {
    const texts = await Promise.all([before?.load(signal) ?? "", after?.load(signal) ?? ""]);
    return diffLines(...(texts as [string, string]));
  });
  const lines = useMemo(() => (data === null ? [] : whole ? data : withContext(data)), [data, whole]);
  const count = (kind: string) => (data ?? []).filter((line) => line.kind === kind).length;
  const choose = (label: string, at: number, set: (at: number) => void) => (
    <label>
      {label}
      <select value={String(at)} onChange={(event) => set(Number(event.currentTarget.value))}>
        {sources.map(({ run, key }, place) => (
          <option key={key} value={place}>
            {run.name}
          </option>
        ))}
      </select>
    </label>
  );
  return (
    <Dialog title={props.title} class="compare-diff" onClose={props.onClose}>
      <div class="compare-sides">
        {choose("Before", left, setLeft)}
        {choose("After", right, setRight)}
        <label class="check">
          <input
            type="checkbox"
            checked={whole}
            onChange={(event) => setWhole(event.currentTarget.checked)}
          />
          all lines
        </label>
        {data !== null && (
          <span class="hint" role="status">
            {count("added") + count("removed") === 0
              ? "They are the same."
              : `${plural(count("removed"), "line")} gone, ${plural(count("added"), "line")} new`}
          </span>
        )}
      </div>
      {error !== null && <p class="fault">{error.message}</p>}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it is scrolled by the keyboard */}
      <pre class="compare-lines" tabIndex={0}>
        {lines.map((line, at) =>
          typeof line === "number" ? (
            <span key={at} class="hint">
              {line === 1 ? "  1 line is the same" : `  ${formatCount(line)} lines are the same`}
              {"\n"}
            </span>
          ) : (
            <span key={at} class={`diff ${line.kind}`}>
              {SIGNS[line.kind]}
              {line.text}
              {"\n"}
            </span>
          ),
        )}
      </pre>
    </Dialog>
  );
}
