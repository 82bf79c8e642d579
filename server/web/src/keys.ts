// The keyboard: one listener, to which pages add keys while they are shown.
import { useEffect, useRef } from "preact/hooks";

export interface Key {
  /** As `event.key` says it, such as "/" or "Escape"; two with a space between are a sequence, "g r". */
  keys: string;
  /** What it does, for the list that `?` shows. */
  label: string;
  run: (event: KeyboardEvent) => void;
  /** Where it is listed; pages use their name. */
  group?: string;
}

const active: Key[] = [];
let prefix = "";
let prefixTimer: ReturnType<typeof setTimeout> | undefined;

/** Keys that work at present. */
export function activeKeys(): readonly Key[] {
  return active;
}

function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement)
    return !["checkbox", "radio", "range", "button"].includes(target.type);
  return (
    target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable
  );
}

/** Whether a key means something to what has the focus: a button is pressed by Enter, a slider moved by arrows. */
function isTaken(target: EventTarget | null, key: string): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (key === "Enter" || key === " ") return target.closest("button, a, summary") !== null;
  return key.startsWith("Arrow") && target.matches("[type=range], [type=radio]");
}

/** Start to listen; once. */
export function startKeys(): void {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (isTyping(event.target) || isTaken(event.target, event.key)) return;
    if (document.querySelector("dialog[open]") !== null) return;
    const pressed = prefix === "" ? event.key : `${prefix} ${event.key}`;
    prefix = "";
    clearTimeout(prefixTimer);
    // The one that was added last comes first: a page may take a key of the frame.
    const found =
      active.findLast((key) => key.keys === pressed) ?? active.findLast((key) => key.keys === event.key);
    if (found !== undefined) {
      event.preventDefault();
      found.run(event);
    } else if (active.some((key) => key.keys.startsWith(`${event.key} `))) {
      prefix = event.key;
      prefixTimer = setTimeout(() => {
        prefix = "";
      }, 1_500);
    }
  });
}

/** Keys that work while the component is shown. */
export function useKeys(keys: Key[]): void {
  // The newest closures count at once, also for the second of two keys that are typed fast.
  const latest = useRef(keys);
  latest.current = keys;
  const signature = keys.map((key) => `${key.keys} ${key.label}`).join("\n");
  // biome-ignore lint/correctness/useExhaustiveDependencies: the keys are registered again when others are there
  useEffect(() => {
    const registered = latest.current.map((key, at) => ({
      ...key,
      run: (event: KeyboardEvent) => latest.current[at]?.run(event),
    }));
    active.push(...registered);
    return () => {
      for (const key of registered) active.splice(active.indexOf(key), 1);
    };
  }, [signature]);
}
