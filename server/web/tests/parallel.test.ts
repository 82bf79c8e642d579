import assert from "node:assert/strict";
import { test } from "node:test";
import type { Value } from "../src/api";
import { filterValue } from "../src/complete";
import {
  axisOf,
  correlation,
  MISSING,
  numberAt,
  ODD,
  ON_AXIS,
  ranksOf,
  shareOf,
} from "../src/pages/parallel/axes";
import {
  type Brush,
  bestShare,
  conditionOf,
  describe,
  filterOf,
  passes,
  passing,
  readBrush,
} from "../src/pages/parallel/brush";
import { BUCKETS, bucketsOf, NO_COLOUR, scaleColour } from "../src/pages/parallel/colours";
import { drawingOrder, lineAt } from "../src/pages/parallel/draw";
import { json } from "../src/state";
import CONDITIONS from "./conditions.json";

type Conditions = {
  name: string;
  values: Value[];
  cases: { brush: Brush; condition: string; rows: number[] }[];
}[];
const NUMBERS: Value[] = [0.001, 1, 10, null, "NaN", "Infinity", "-Infinity"];
const rowsOf = (values: Value[], brush: Brush) => {
  const axis = axisOf("parameters.x", values);
  return values.flatMap((_, row) => (passes(axis, brush, row) ? [row] : []));
};

test("what is missing and what is not finite lie on rails of their own", () => {
  const axis = axisOf("parameters.x", NUMBERS);
  assert.deepEqual([...axis.rails], [ON_AXIS, ON_AXIS, ON_AXIS, MISSING, ODD, ODD, ODD]);
  assert.deepEqual([axis.low, axis.high, axis.kind], [0.001, 10, "number"]);
});

test("a positive range of three decades is logarithmic, and may be told not to be", () => {
  assert.equal(axisOf("x", [0.001, 1]).log, true);
  assert.equal(axisOf("x", [0.002, 1]).log, false);
  assert.equal(axisOf("x", [0.001, 1], false).log, false);
  assert.equal(axisOf("x", [0.5, 1], true).log, true);
  assert.equal(axisOf("x", [0, 1, 1000], true).log, false);
  const axis = axisOf("x", [0.01, 100]);
  assert.ok(Math.abs(shareOf(axis, 1) - 0.5) < 1e-12);
  assert.equal(shareOf(axisOf("x", [3, 3]), 3), 0.5);
});

test("texts and booleans are categories in order", () => {
  const axis = axisOf("x", ["b10", true, "b9", false, 3, null, [1]]);
  assert.deepEqual(axis.categories, [3, false, true, "b9", "b10"]);
  assert.deepEqual([...axis.rails], [0, 0, 0, 0, 0, MISSING, ODD]);
  assert.deepEqual(axisOf("x", []).categories, []);
});

test("the ends of an axis are exact, and places between are round", () => {
  const axis = axisOf("x", [0.1234567, 9.87654321]);
  assert.equal(numberAt(axis, 0), 0.1234567);
  assert.equal(numberAt(axis, 1.2), 9.87654321);
  assert.equal(numberAt(axis, 0.5), 5);
  assert.equal(numberAt(axisOf("x", [0.001, 1000]), 0.4), 0.251);
});

test("a brush lets pass what lies in it, and rails only when they are chosen", () => {
  assert.deepEqual(rowsOf(NUMBERS, { low: 1, high: 10 }), [1, 2]);
  assert.deepEqual(rowsOf(NUMBERS, { high: 1 }), [0, 1]);
  assert.deepEqual(rowsOf(NUMBERS, { missing: true }), [3]);
  assert.deepEqual(rowsOf(NUMBERS, { low: 5, odd: true }), [2, 4, 5, 6]);
  assert.deepEqual(rowsOf(["a", "b", true, null], { values: ["a", true] }), [0, 2]);
  const axes = [axisOf("a", [1, 2, 3]), axisOf("b", ["x", "y", "x"])];
  assert.deepEqual(
    [
      ...passing(
        axes,
        [
          ["a", { low: 2 }],
          ["b", { values: ["x"] }],
          ["gone", { low: 9 }],
        ],
        3,
      ),
    ],
    [0, 0, 1],
  );
});

test("the conditions of several axes hold together", () => {
  const [number, finite] = [axisOf("parameters.x", NUMBERS), axisOf("duration", [1, 2])];
  assert.equal(
    filterOf(
      [number, finite],
      [
        ["duration", { low: 1 }],
        ["parameters.x", { missing: true }],
      ],
    ),
    "duration >= 1 and parameters.x = null",
  );
});

test("the condition of a brush, and the rows that pass it", () => {
  // tests/server/web/test_conditions.py checks that the filter selects the same rows.
  for (const { name, values, cases } of CONDITIONS as Conditions) {
    const axis = axisOf(name, values);
    for (const { brush, condition, rows } of cases) {
      assert.equal(conditionOf(axis, brush), condition);
      assert.deepEqual(
        values.flatMap((_, row) => (passes(axis, brush, row) ? [row] : [])),
        rows,
      );
    }
  }
});

test("texts that a filter would take for something else are quoted", () => {
  for (const word of ["true", "None", "nan", "or", "inf", "IN"]) assert.equal(filterValue(word), `"${word}"`);
  assert.deepEqual(["adam", "2d", "a b", true, 3].map(filterValue), ["adam", '"2d"', '"a b"', "true", "3"]);
});

test("a brush is described in words", () => {
  const axis = axisOf("x", [1, 2, null]);
  assert.equal(describe(axis, { low: 1, high: 2, missing: true }), "1 … 2 or missing");
  assert.equal(describe(axisOf("x", [..."abcde"]), { values: [..."abcd"] }), "a, b, c and 1 more");
});

test("the best rows are those up to a value, with all that are equal to it", () => {
  const axis = axisOf("x", [5, 1, 2, 2, "NaN", null, 4, 3, 9, 8, 7, 6]);
  assert.deepEqual(bestShare(axis, 20, false), { high: 2 });
  assert.deepEqual(bestShare(axis, 10, true), { low: 9 });
  assert.deepEqual(bestShare(axis, 0.001, true), { low: 9 });
  assert.equal(bestShare(axisOf("x", ["a"]), 10, true), null);
});

test("brushes of an address that are none are left out", () => {
  const given = { a: { low: 1, high: "x" }, b: {}, c: 3, d: { missing: true, values: [1, {}] } };
  assert.deepEqual(json(readBrush).read(JSON.stringify(given)), {
    a: { low: 1 },
    d: { missing: true, values: [1] },
  });
});

test("Spearman's correlation looks at ranks, and only where both have a place", () => {
  const x = axisOf("x", [1, 2, 3, 4, null, "NaN"]);
  assert.equal(correlation(x, axisOf("y", [1, 10, 100, 1e6, 5, 5])), 1);
  assert.equal(correlation(x, axisOf("y", [4, 3, 2, 1, 5, 5])), -1);
  assert.equal(correlation(x, axisOf("y", [7, 7, 7, 7, 7, 7])), null);
  assert.equal(correlation(x, axisOf("y", ["a", "b", "c", "d", "e", "f"])), null);
  assert.ok((correlation(x, axisOf("y", [false, false, true, true, true, true])) ?? 0) > 0.8);
  assert.deepEqual([...ranksOf([3, 1, 3, 2])], [3.5, 1, 3.5, 2]);
});

test("colours follow the axis, and what is off it has none", () => {
  const buckets = bucketsOf(axisOf("x", [0, 1, null]), 3);
  assert.deepEqual([...buckets], [0, BUCKETS - 1, NO_COLOUR]);
  assert.match(scaleColour(0.5, true), /^#[0-9a-f]{6}$/);
  assert.notEqual(scaleColour(1, true), scaleColour(1, false));
});

test("the best lines are drawn last, and those without a colour first", () => {
  const buckets = Uint8Array.from([0, 31, NO_COLOUR, 5]);
  assert.deepEqual([...drawingOrder(buckets, null, true)], [2, 0, 3, 1]);
  assert.deepEqual([...drawingOrder(buckets, null, false)], [2, 1, 3, 0]);
  assert.deepEqual([...drawingOrder(buckets, Uint8Array.from([1, 0, 1, 1]), true)], [2, 0, 3]);
});

test("the line under the pointer is the nearest one that is shown", () => {
  const lines = { rows: 2, xs: [0, 100], ys: Float32Array.from([0, 100, 50, 50]) };
  assert.equal(lineAt(lines, Uint8Array.from([1, 1]), 10, 12, 7), 0);
  assert.equal(lineAt(lines, Uint8Array.from([1, 1]), 10, 52, 7), 1);
  assert.equal(lineAt(lines, Uint8Array.from([0, 1]), 10, 12, 7), null);
  assert.equal(lineAt(lines, Uint8Array.from([1, 1]), 200, 12, 7), null);
});

test("integers that floats are too short for pass a brush together, and its condition selects the same", () => {
  const [one, other] = [2n ** 53n + 1n, 2n ** 54n + 1n];
  const axis = axisOf("x", [one - 1n, one, other, 3], false);
  assert.deepEqual([axis.low, axis.high], [3, 2 ** 54]);
  assert.equal(conditionOf(axis, { low: 2 ** 53, high: 2 ** 54 }), `x >= ${one - 1n} and x <= ${other}`);
  assert.equal(conditionOf(axis, { low: 2 ** 54, high: 2 ** 54 }), `x = ${other}`);
  const words = axisOf("x", ["a", "b", one, one + 1n]);
  assert.deepEqual(words.categories, [one, one + 1n, "a", "b"]);
  assert.equal(conditionOf(words, { values: [one] }), `x = ${one}`);
  assert.deepEqual(readBrush({ values: [one, null] }), { values: [one] });
});
