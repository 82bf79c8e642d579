// The status of a run: its colour and its word.
import type { JSX } from "preact";

export type StatusKind = "running" | "completed" | "failed" | "lost" | "stopped" | "created" | "other";

const KINDS: Record<string, StatusKind> = {
  running: "running",
  completed: "completed",
  exception: "failed",
  broken: "failed",
  interrupted: "stopped",
  suspended: "stopped",
  pruned: "stopped",
  lost: "lost",
  createdgroup: "created",
  runninggroup: "running",
  errorgroup: "failed",
  finishedgroup: "completed",
};

/** What a status means; a status of the user's own is "other". */
export function statusKind(status: string): StatusKind {
  return KINDS[status.toLowerCase()] ?? "other";
}

/** The word for a status, in small letters as filters take it. */
export function statusWord(status: string): string {
  return status.toLowerCase().replace(/group$/, "");
}

/** A dot and the word. */
export function Status({ status }: { status: string }): JSX.Element {
  return (
    <span class={`status ${statusKind(status)}`}>
      <i class="dot" />
      {statusWord(status)}
    </span>
  );
}
