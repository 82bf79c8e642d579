// What fails while it is drawn leaves the rest of the page alone.
import type { ComponentChildren, JSX } from "preact";
import { useErrorBoundary } from "preact/hooks";
import { ErrorBox } from "./states";

/** A part of the page; if it fails, there is a message in its place. */
export function Fence({ children }: { children: ComponentChildren }): JSX.Element {
  const [error, again] = useErrorBoundary();
  if (error === undefined) return <>{children}</>;
  return <ErrorBox title="This part of the page has failed" error={error} again={again} />;
}
