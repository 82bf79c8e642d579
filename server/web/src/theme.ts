// Light and dark, and the colours of runs.
import { useEffect, useState } from "preact/hooks";

export type Theme = "system" | "light" | "dark";
const KEY = "track.theme";

/**
 * Colours of runs, told apart by people with any common colour blindness when line styles help, and with a contrast of
 * at least 3:1 to the background of both themes (a test computes it).
 */
export const PALETTE: readonly string[] = [
  "#2b7fd4", // blue
  "#c8641e", // orange
  "#0e9384", // teal
  "#bf4a94", // magenta
  "#5c8f1f", // green
  "#8463cf", // violet
  "#d0483f", // red
  "#1d8fae", // cyan
  "#94831a", // olive
  "#a3694a", // brown
];
/** Dashes in pixels, by which runs of one colour differ. */
export const DASHES: readonly (readonly number[])[] = [[], [7, 4], [2, 3], [9, 3, 2, 3]];

/** The colour of a run: the one set by hand (metadata `colour`, as #rrggbb), else that of its id, for ever the same. */
export function colourOf(trial: string, byHand?: unknown): string {
  return typeof byHand === "string" && /^#[0-9a-f]{6}$/i.test(byHand)
    ? byHand
    : (PALETTE[hashOf(trial) % PALETTE.length] as string);
}

/**
 * The dash of each run among others: of one colour the oldest has a whole line, and the next ones each another dash,
 * so that a run that comes changes no line that is there.
 */
export function dashesOf(
  runs: readonly { id: string; colour: string; created: number | null }[],
): Map<string, readonly number[]> {
  const used = new Map<string, number>();
  const byAge = [...runs].sort((a, b) => (a.created ?? 0) - (b.created ?? 0) || (a.id < b.id ? -1 : 1));
  return new Map(
    byAge.map(({ id, colour }) => {
      const before = used.get(colour) ?? 0;
      used.set(colour, before + 1);
      return [id, DASHES[before % DASHES.length] ?? []];
    }),
  );
}

function hashOf(text: string): number {
  let hash = 2166136261;
  for (let at = 0; at < text.length; at++) {
    hash = Math.imul(hash ^ text.charCodeAt(at), 16777619);
  }
  hash = Math.imul(hash ^ (hash >>> 15), 2246822507);
  return (hash ^ (hash >>> 13)) >>> 0;
}

const darkSystem = () => window.matchMedia("(prefers-color-scheme: dark)");
const isDark = () => document.documentElement.dataset.theme === "dark";
const listeners = new Set<() => void>();

/** The theme that was chosen in this browser. */
export function getTheme(): Theme {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : "system";
}

/** Choose a theme. */
export function setTheme(theme: Theme): void {
  if (theme === "system") localStorage.removeItem(KEY);
  else localStorage.setItem(KEY, theme);
  applyTheme();
}

/** Make the page follow the theme; once at its start. */
export function applyTheme(): void {
  const theme = getTheme();
  showTheme(theme === "dark" || (theme === "system" && darkSystem().matches));
}

/** Show the page dark, or light. */
export function showTheme(dark: boolean): void {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  for (const listener of [...listeners]) listener();
}

export function startTheme(): void {
  darkSystem().addEventListener("change", applyTheme);
  // Paper is white.
  window.addEventListener("beforeprint", () => showTheme(false));
  window.addEventListener("afterprint", applyTheme);
  applyTheme();
}

/** A colour of the style sheet, such as "--text", for drawing on a canvas. */
export function cssColour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** Whether it is dark; what draws on a canvas draws again when this changes. */
export function useDark(): boolean {
  const [dark, setDark] = useState(isDark);
  useEffect(() => {
    const listener = () => setDark(isDark());
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }, []);
  return dark;
}
