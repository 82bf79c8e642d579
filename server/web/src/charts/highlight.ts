// The run under the pointer: it stands out in every chart and in the list of runs.
import { useEffect, useState } from "preact/hooks";

let current: string | null = null;
const listeners = new Set<(owner: string | null) => void>();

export function setHighlighted(owner: string | null): void {
  if (owner === current) return;
  current = owner;
  for (const listener of [...listeners]) listener(owner);
}

export function useHighlighted(): string | null {
  const [owner, setOwner] = useState(current);
  useEffect(() => {
    setOwner(current);
    listeners.add(setOwner);
    return () => {
      listeners.delete(setOwner);
    };
  }, []);
  return owner;
}

/** Whether one run is under the pointer: what shows a single run is not drawn again for the others. */
export function useIsHighlighted(owner: string): boolean {
  const [is, setIs] = useState(current === owner);
  useEffect(() => {
    const listener = (now: string | null) => setIs(now === owner);
    listener(current);
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }, [owner]);
  return is;
}
