// A modal window: the browser's own, which keeps the focus inside and closes by Escape if it may.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";

/** A modal window with a title. */
export function Dialog(props: {
  title: string;
  /** It is closed by Escape and a click beside it; null if there is nothing to see without it. */
  onClose: (() => void) | null;
  class?: string;
  children: ComponentChildren;
}): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Escape closes a dialog by itself
    <dialog
      ref={dialog}
      class={props.class}
      aria-label={props.title}
      onClose={() => {
        if (props.onClose !== null) props.onClose();
        // A browser closes one at the second Escape, whatever is done about the first.
        else dialog.current?.showModal();
      }}
      onCancel={(event) => {
        if (props.onClose === null) event.preventDefault();
      }}
      onClick={(event) => {
        if (event.target === dialog.current) props.onClose?.();
      }}
    >
      <div class="dialog-body">
        <h2>{props.title}</h2>
        {props.children}
      </div>
    </dialog>
  );
}
