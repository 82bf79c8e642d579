import assert from "node:assert/strict";
import { test } from "node:test";
import { diffLines } from "../src/diff";
import { itemAt, stepsOf } from "../src/pages/media/data";
import { histogramOf, rangeOf, rebin } from "../src/pages/media/histogram";

const kinds = (before: string, after: string) =>
  diffLines(before, after).map(({ kind, text }) => `${{ same: " ", added: "+", removed: "-" }[kind]}${text}`);

test("a diff marks what is new and what is gone", () => {
  assert.deepEqual(kinds("a\nb\nc", "a\nx\nc"), [" a", "-b", "+x", " c"]);
  assert.deepEqual(kinds("a", "a"), [" a"]);
  assert.deepEqual(kinds("a\nb\nc\nd", "b\nd"), ["-a", " b", "-c", " d"]);
});

test("each side of a diff can be read back", () => {
  const [before, after] = ["one\ntwo\nthree\ntwo", "zero\ntwo\ntwo\nfour"];
  const lines = diffLines(before, after);
  const side = (other: string) =>
    lines
      .filter(({ kind }) => kind !== other)
      .map(({ text }) => text)
      .join("\n");
  assert.equal(side("added"), before);
  assert.equal(side("removed"), after);
});

test("a diff of very long texts ends", () => {
  const long = (word: string) => Array.from({ length: 5_000 }, (_, at) => `${word} ${at}`).join("\n");
  assert.equal(diffLines(long("a"), long("b")).length, 10_000);
});

test("the item of a step is the last one that is not later", () => {
  const items = [0, 10, 20].map((step) => ({ step, time: null, value: null }));
  assert.deepEqual(
    [-1, 0, 9, 10, 99, null].map((step) => itemAt(items, step)?.step),
    [0, 0, 0, 10, 20, 20],
  );
  assert.deepEqual(stepsOf([items, [{ step: 5, time: null, value: null }]]), [0, 5, 10, 20]);
});

test("counts on other buckets add up to the same", () => {
  const histogram = histogramOf({ edges: [0, 1, 3], counts: [10, 20], nan: 2, posinf: 1, neginf: 0 });
  assert.ok(histogram);
  assert.deepEqual([histogram.nan, histogram.infinite], [2, 1]);
  const range = rangeOf([histogram]);
  assert.deepEqual(range, { low: 0, high: 3 });
  assert.deepEqual([...rebin(histogram, range, 3)], [10, 10, 10]);
  const wide = rebin(histogram, { low: -3, high: 6 }, 7);
  assert.ok(Math.abs(wide.reduce((sum, count) => sum + count, 0) - 30) < 1e-9);
});

test("a histogram of one value has a place", () => {
  const histogram = histogramOf({ edges: [5, 5], counts: [7] });
  assert.ok(histogram);
  const range = rangeOf([histogram]);
  assert.equal(
    rebin(histogram, range, 4).reduce((sum, count) => sum + count, 0),
    7,
  );
});

test("what is no histogram is none", () => {
  assert.equal(histogramOf(null), null);
  assert.equal(histogramOf({ edges: 3, counts: [] }), null);
});
