// What is shown where there is no data: nothing yet, nothing found, an error.
import type { ComponentChildren, JSX } from "preact";
import { Unreachable } from "../api";

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

/** Data on its way, for the first time; not shown in the first moment. */
export function Loading(): JSX.Element {
  return <div class="loading" role="status" aria-label="Loading" />;
}
