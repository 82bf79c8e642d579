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

/** Colour and dash of a run: always the same, for they come from its id. */
export function styleOf(trial: string): { colour: string; dash: readonly number[] } {
  const hash = hashOf(trial);
  return {
    colour: PALETTE[hash % PALETTE.length] as string,
    dash: DASHES[Math.floor(hash / PALETTE.length) % DASHES.length] as readonly number[],
  };
}

/** The colour of a run: the one set by hand (metadata `colour`, as #rrggbb), else that of its id. */
export function colourOf(trial: string, byHand?: unknown): string {
  return typeof byHand === "string" && /^#[0-9a-f]{6}$/i.test(byHand) ? byHand : styleOf(trial).colour;
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
  const dark = theme === "dark" || (theme === "system" && darkSystem().matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  for (const listener of [...listeners]) listener();
}

export function startTheme(): void {
  darkSystem().addEventListener("change", applyTheme);
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
