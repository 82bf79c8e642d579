// What is shown where there is no data: nothing yet, nothing found, an error.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Unreachable } from "../api";
import { filterAnd } from "../complete";
import { useFilter } from "../state";

/** A place without data: what is missing, and what to do. */
export function Empty(props: { title: string; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="empty">
      <h2>{props.title}</h2>
      {props.children}
    </div>
  );
}

/** A read that failed, where the data would be. */
export function ErrorBox(props: { error: Error; title?: string; again?: () => void }): JSX.Element {
  const { title = "This could not be read" } = props;
  return (
    <div class="empty" role="alert">
      <h2>{props.error instanceof Unreachable ? "The server cannot be reached" : title}</h2>
      {!(props.error instanceof Unreachable) && <p>{props.error.message}</p>}
      {props.again && (
        <button type="button" class="button" onClick={props.again}>
          Try again
        </button>
      )}
    </div>
  );
}

const SLOW_MS = 4_000;
const RECENT = "created > 7d";

/**
 * Data on its way, for the first time; not shown in the first moment. When it takes long: what of all runs is read (`of`),
 * and an offer of less.
 */
export function Loading({ of }: { of?: string }): JSX.Element {
  const [slow, setSlow] = useState(false);
  const [filter, setFilter] = useFilter();
  useEffect(() => {
    const timer = setTimeout(() => setSlow(true), SLOW_MS);
    return () => clearTimeout(timer);
  }, []);
  if (!slow || of === undefined) return <div class="loading" role="status" aria-label="Loading" />;
  return (
    <div class="empty" role="status">
      <h2>Still reading {of}</h2>
      <p>A narrower filter makes it faster.</p>
      {!filter.includes(RECENT) && (
        <button type="button" class="button" onClick={() => setFilter(filterAnd(filter.trim(), RECENT))}>
          Only runs of the last week
        </button>
      )}
    </div>
  );
}
