import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatAge,
  formatBytes,
  formatCount,
  formatDuration,
  formatNumber,
  formatTime,
  formatValue,
  numberOf,
} from "../src/format";

test("a number has five significant digits, a true minus and groups of thousands", () => {
  assert.equal(formatNumber(0.0123456), "0.012346");
  assert.equal(formatNumber(-1.5), "−1.5");
  assert.equal(formatNumber(12345.678), "12,346");
  assert.equal(formatNumber(1234567), "1,234,567");
  assert.equal(formatNumber(2024), "2024");
  assert.equal(formatNumber(0.1 + 0.2), "0.3");
});

test("very small and very large numbers have an exponent", () => {
  assert.equal(formatNumber(1.23e-7), "1.23e−7");
  assert.equal(formatNumber(6.02e23), "6.02e23");
});

test("a number that is not finite is written, whether it comes as a number or as a text", () => {
  assert.equal(formatNumber(Number.NaN), "NaN");
  assert.equal(formatValue("Infinity"), "∞");
  assert.equal(formatValue("-Infinity"), "−∞");
  assert.ok(Number.isNaN(numberOf("NaN")));
  assert.equal(numberOf("nan"), null);
  assert.equal(numberOf(null), null);
});

test("a duration has at most two units, and no rounding carries it over a unit", () => {
  assert.equal(formatDuration(0.352), "0.35 s");
  assert.equal(formatDuration(0.0523), "52.3 ms");
  assert.equal(formatDuration(0.00034), "0.34 ms");
  assert.equal(formatDuration(0), "0 s");
  assert.equal(formatDuration(42), "42 s");
  assert.equal(formatDuration(200), "3 m 20 s");
  assert.equal(formatDuration(3600), "1 h");
  assert.equal(formatDuration(7500), "2 h 5 m");
  assert.equal(formatDuration(3599.9), "1 h");
  assert.equal(formatDuration(-90), "−1 m 30 s");
});

test("an age has one unit", () => {
  assert.equal(formatAge(0.2), "now");
  assert.equal(formatAge(59.9), "59 s");
  assert.equal(formatAge(90_000), "1 d");
});

test("a moment of today has no date, one of this year no year", () => {
  const now = new Date(2026, 10, 30, 15, 0);
  assert.equal(formatTime(new Date(2026, 10, 30, 9, 5).getTime() / 1000, now), "09:05");
  assert.equal(formatTime(new Date(2026, 1, 3, 9, 5).getTime() / 1000, now), "3 Feb 09:05");
  assert.equal(formatTime(new Date(2025, 1, 3, 9, 5).getTime() / 1000, now), "2025-02-03");
});

test("counts and bytes are short", () => {
  assert.equal(formatCount(10000), "10,000");
  assert.equal(formatBytes(1536), "1.5 KB");
  assert.equal(formatBytes(20_000_000), "20 MB");
});
