// A button that opens a panel below it.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

export interface MenuProps {
  /** What the button shows, and what it is called where that is an icon. */
  button: ComponentChildren;
  label?: string;
  class?: string;
  panelClass?: string;
  /** What the panel holds; `close` closes it. */
  children: (close: () => void) => ComponentChildren;
}

/** A menu or small form: closed by Escape, by a click elsewhere, and by its own actions. */
export function Menu({
  button,
  label,
  class: kind = "button",
  panelClass = "",
  children,
}: MenuProps): JSX.Element {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const opener = useRef<HTMLButtonElement>(null);
  const panel = useRef<HTMLDivElement>(null);
  const close = () => {
    setOpen(false);
    opener.current?.focus();
  };
  useEffect(() => {
    if (!open) return;
    const outside = (event: Event) => {
      if (event.target instanceof Node && !root.current?.contains(event.target)) setOpen(false);
    };
    document.addEventListener("pointerdown", outside);
    document.addEventListener("focusin", outside);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("focusin", outside);
    };
  }, [open]);
  useLayoutEffect(() => {
    if (!open || panel.current === null || opener.current === null) return;
    place(panel.current, opener.current);
    panel.current.querySelector<HTMLElement>("input, [role^=menuitem], button")?.focus();
  }, [open]);
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: the keys belong to the button and the panel inside
    <div
      class="menu"
      ref={root}
      onKeyDown={(event) => {
        if (event.key === "Escape" && open) {
          event.stopPropagation();
          event.preventDefault();
          close();
        } else if (open && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
          moveFocus(event, panel.current);
        }
      }}
    >
      <button
        type="button"
        ref={opener}
        class={kind}
        aria-label={label}
        title={label}
        aria-expanded={open}
        aria-haspopup="true"
        onClick={() => setOpen(!open)}
      >
        {button}
      </button>
      {open && (
        <div class={`panel ${panelClass}`} ref={panel}>
          {children(close)}
        </div>
      )}
    </div>
  );
}

/** Below the opener, within the window. */
function place(panel: HTMLElement, opener: HTMLElement): void {
  const at = opener.getBoundingClientRect();
  const width = panel.offsetWidth;
  const left = Math.max(8, Math.min(at.left, window.innerWidth - width - 8));
  const below = window.innerHeight - at.bottom - 12;
  const above = at.top - 12;
  panel.style.left = `${left}px`;
  if (below < Math.min(panel.scrollHeight, 240) && above > below) {
    panel.style.bottom = `${window.innerHeight - at.top + 4}px`;
    panel.style.maxHeight = `${above}px`;
  } else {
    panel.style.top = `${at.bottom + 4}px`;
    panel.style.maxHeight = `${below}px`;
  }
}

function moveFocus(event: KeyboardEvent, panel: HTMLElement | null): void {
  const items = [...(panel?.querySelectorAll<HTMLElement>("[role^=menuitem]:not(:disabled)") ?? [])];
  if (items.length === 0) return;
  event.preventDefault();
  const at = items.indexOf(document.activeElement as HTMLElement);
  const step = event.key === "ArrowDown" ? 1 : -1;
  items[at < 0 ? 0 : (at + step + items.length) % items.length]?.focus();
}

/** One action of a menu. */
export function MenuItem(props: {
  children: ComponentChildren;
  onClick: () => void;
  checked?: boolean;
  danger?: boolean;
}): JSX.Element {
  const kind = `item${props.danger ? " danger" : ""}`;
  return props.checked === undefined ? (
    <button type="button" class={kind} role="menuitem" onClick={props.onClick}>
      {props.children}
    </button>
  ) : (
    <button
      type="button"
      class={kind}
      role="menuitemradio"
      aria-checked={props.checked}
      onClick={props.onClick}
    >
      {props.children}
    </button>
  );
}
