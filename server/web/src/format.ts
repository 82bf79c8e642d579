// How numbers, times and texts are written. Pure functions.
import type { Value } from "./api";
import { writeJson } from "./json";

const NOT_FINITE: Record<string, string> = { NaN: "NaN", Infinity: "∞", "-Infinity": "−∞" };

/** The number that a value of an answer means: also NaN and infinities, which JSON has as texts; else null. */
export function numberOf(value: Value | undefined): number | bigint | null {
  if (typeof value === "number" || typeof value === "bigint") return value;
  return typeof value === "string" && value in NOT_FINITE ? Number(value) : null;
}

/** The same as near as a float comes to it: for places in a picture, times and sums. */
export function floatOf(value: Value | undefined): number | null {
  const number = numberOf(value);
  return number === null ? null : Number(number);
}

/** Whether a value is an integer. */
export function isWhole(value: Value | undefined): value is number | bigint {
  return typeof value === "bigint" || Number.isInteger(value);
}

/** A number with `digits` significant digits: 0.01234, 12,345, 1.2e−7, NaN, ∞; an integer is whole. */
export function formatNumber(value: number | bigint, digits = 5): string {
  if (typeof value === "bigint") return minus(group(String(value)));
  if (!Number.isFinite(value)) return NOT_FINITE[String(value)] ?? "NaN";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isSafeInteger(value)) return minus(group(String(value)));
  if (size < 1e-4 || size >= 1e9) {
    const [mantissa = "", exponent = ""] = value.toExponential(Math.max(0, digits - 1)).split("e");
    return minus(`${trim(mantissa)}e${exponent.replace("+", "")}`);
  }
  const decimals = Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return minus(group(trim(value.toFixed(Math.min(decimals, 100)))));
}

const minus = (text: string) => text.replace(/-/g, "−");
const trim = (text: string) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
function group(text: string): string {
  const [whole = "", fraction] = text.split(".");
  const grouped = whole.length > 4 ? whole.replace(/\B(?=(\d{3})+(?!\d))/g, ",") : whole;
  return fraction === undefined ? grouped : `${grouped}.${fraction}`;
}

/** A count: 1,234,567. */
export function formatCount(value: number): string {
  return String(Math.round(value)).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** "1 run", "2 runs". */
export function plural(count: number, noun: string): string {
  return `${formatCount(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** Seconds as two units at most: 4 ms, 0.35 s, 42 s, 3 m 20 s, 2 h 5 m, 3 d 4 h. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return formatNumber(seconds);
  if (seconds < 0) return `−${formatDuration(-seconds)}`;
  if (seconds > 0 && seconds < 0.1) return `${formatNumber(1_000 * seconds, seconds < 0.01 ? 2 : 3)} ms`;
  if (seconds < 10) return `${trim(seconds.toFixed(seconds < 1 ? 2 : 1))} s`;
  const whole = Math.round(seconds);
  const units: [number, string][] = [
    [86_400, "d"],
    [3_600, "h"],
    [60, "m"],
    [1, "s"],
  ];
  const first = units.findIndex(([size]) => whole >= size);
  const [size = 1, unit = "s"] = units[first] ?? [];
  const [nextSize = 0, nextUnit = ""] = units[first + 1] ?? [];
  const rest = nextSize === 0 ? 0 : Math.floor((whole % size) / nextSize);
  return `${Math.floor(whole / size)} ${unit}${rest > 0 ? ` ${rest} ${nextUnit}` : ""}`;
}

/** How long ago, in one unit: now, 12 s, 5 m, 3 h, 2 d. */
export function formatAge(seconds: number): string {
  if (seconds < 1) return "now";
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)} m`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

const two = (value: number) => String(value).padStart(2, "0");

/** A moment (s since the epoch) in local time: 14:03 of today, 30 Nov 14:03 of this year, 2025-11-30 before. */
export function formatTime(seconds: number, now: Date = new Date()): string {
  const at = new Date(seconds * 1000);
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}`;
  if (at.toDateString() === now.toDateString()) return clock;
  if (at.getFullYear() !== now.getFullYear()) return formatDate(at);
  return `${at.getDate()} ${MONTHS[at.getMonth()]} ${clock}`;
}

/** A moment in full, for a title: 2026-11-30 14:03:07. */
export function formatMoment(seconds: number): string {
  const at = new Date(seconds * 1000);
  return `${formatDate(at)} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

const formatDate = (at: Date) => `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** Bytes: 512 B, 1.5 KB, 20 MB. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let size = bytes;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${unit === 0 || size >= 100 ? Math.round(size) : trim(size.toFixed(1))} ${units[unit]}`;
}

/** Any value as one line of text; a missing one is empty. */
export function formatValue(value: Value | undefined): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number" || typeof value === "bigint") return formatNumber(value);
  if (typeof value === "string") return NOT_FINITE[value] ?? value;
  if (typeof value === "boolean") return value ? "true" : "false";
  return writeJson(value);
}
