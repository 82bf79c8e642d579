// Short messages that go away by themselves, and banners that stay while something is wrong.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Icon } from "./icons";

interface Toast {
  id: number;
  message: string;
  kind: "info" | "error";
  /** How to take back what was done. */
  undo: (() => void) | undefined;
}

let toasts: readonly Toast[] = [];
let show: (toasts: readonly Toast[]) => void = () => {};
let last = 0;
const INFO_MS = 5_000;

function dismiss(id: number): void {
  toasts = toasts.filter((toast) => toast.id !== id);
  show(toasts);
}

function add(message: string, kind: Toast["kind"], undo?: () => void): void {
  const id = ++last;
  toasts = [...toasts.slice(-3), { id, message, kind, undo }];
  show(toasts);
  // An error stays until it was seen.
  if (kind === "info") setTimeout(() => dismiss(id), INFO_MS);
}

/** Say that something was done, and offer to take it back. */
export const notify = (message: string, undo?: () => void): void => add(message, "info", undo);
/** Say that something failed, in the server's own words. */
export const notifyError = (error: unknown): void =>
  add(error instanceof Error ? error.message : String(error), "error");

/** Where the messages appear. */
export function Toasts(): JSX.Element {
  const [shown, setShown] = useState(toasts);
  useEffect(() => {
    show = setShown;
  }, []);
  return (
    <div class="toasts" role="status" aria-live="polite">
      {shown.map((toast) => (
        <div key={toast.id} class={`toast ${toast.kind}`}>
          <span>{toast.message}</span>
          {toast.undo !== undefined && (
            <button
              type="button"
              class="link"
              onClick={() => {
                dismiss(toast.id);
                toast.undo?.();
              }}
            >
              Undo
            </button>
          )}
          <button type="button" class="quiet" aria-label="Dismiss" onClick={() => dismiss(toast.id)}>
            <Icon name="close" />
          </button>
        </div>
      ))}
    </div>
  );
}

/** A line over the page while something is wrong. */
export function Banner(props: { kind?: "warning" | "error"; children: ComponentChildren }): JSX.Element {
  return (
    <div class={`banner ${props.kind ?? "warning"}`} role="alert">
      {props.children}
    </div>
  );
}
