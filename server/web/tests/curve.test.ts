import assert from "node:assert/strict";
import { test } from "node:test";
import type { Columns, Tail } from "../src/api";
import { interpolate, nearest, oddOf, onMetric, rawLine, smooth, withTail } from "../src/charts/curve";

/** Columns of one point each. */
function columnsOf(values: number[], counts: number[] = values.map(() => 1)): Columns {
  const of = (make: (value: number, at: number) => number) => Float64Array.from(values, make);
  const finite = (value: number) => (Number.isFinite(value) ? value : Number.NaN);
  return {
    exact: counts.every((count) => count === 1),
    axis: "step",
    count: values.length,
    total: values.length,
    x: of((_, at) => at),
    step: of((_, at) => at),
    time: of((_, at) => 100 + at),
    last: of((value) => value),
    min: of(finite),
    max: of(finite),
    mean: of(finite),
    count_of: Float64Array.from(counts),
    nonfinite: of((value) => (Number.isFinite(value) ? 0 : 1)),
    odd: of((value) => (Number.isFinite(value) ? 0 : value)),
  };
}

function tailOf(start: number, values: number[], total = start + values.length): Tail {
  return {
    start,
    total,
    steps: Float64Array.from(values, (_, at) => start + at),
    times: Float64Array.from(values, (_, at) => 100 + start + at),
    values: Float64Array.from(values),
  };
}

test("smoothing single points is the debiased exponential average", () => {
  const smoothed = smooth(columnsOf([4, 2, 1]), 0.5);
  assert.deepEqual([...smoothed], [4, (0.25 * 4 + 0.5 * 2) / 0.75, (0.125 * 4 + 0.25 * 2 + 0.5) / 0.875]);
});

test("smoothing columns of many equal points is smoothing the points", () => {
  const points = smooth(columnsOf([1, 1, 1, 3, 3, 3]), 0.9);
  const columns = smooth(columnsOf([1, 3], [3, 3]), 0.9);
  assert.ok(Math.abs((points[5] as number) - (columns[1] as number)) < 1e-12);
});

test("smoothing leaves out what is not finite and goes on behind it", () => {
  const [first, gap, last] = smooth(columnsOf([1, Number.NaN, 1]), 0.9);
  assert.equal(first, 1);
  assert.ok(Number.isNaN(gap));
  assert.ok(Math.abs((last as number) - 1) < 1e-12);
});

test("the raw line touches the least and the greatest value of each column", () => {
  const columns = columnsOf([5, 5]);
  columns.min[1] = -100;
  columns.max[1] = 100;
  columns.count_of[1] = 50;
  const values = rawLine(columns).map((point) => point.y);
  assert.ok(values.includes(-100) && values.includes(100));
  assert.equal(values.at(-1), 5);
});

test("the raw line breaks where no value is finite", () => {
  assert.deepEqual(
    rawLine(columnsOf([1, Number.NaN, 2])).map((point) => point.y),
    [1, Number.NaN, 2],
  );
});

test("values that are not finite are found with their step", () => {
  const odd = oddOf(columnsOf([1, Number.POSITIVE_INFINITY]));
  assert.deepEqual(odd, [{ x: 1, step: 1, value: Number.POSITIVE_INFINITY, count: 1 }]);
});

test("another metric as x orders the points by it", () => {
  const other = columnsOf([30, 20, 10]);
  const turned = onMetric(columnsOf([1, 2, 3]), other);
  assert.deepEqual([...turned.x], [10, 20, 30]);
  assert.deepEqual([...turned.mean], [3, 2, 1]);
});

test("interpolation ends where the function is known", () => {
  const at = (x: number) => interpolate([0, 10], [0, 1], x);
  assert.deepEqual([at(0), at(5), at(10)], [0, 0.5, 1]);
  assert.ok(Number.isNaN(at(-1)) && Number.isNaN(at(11)));
});

test("the nearest place is found", () => {
  assert.deepEqual(
    [-5, 4, 6, 99].map((value) => nearest([0, 10, 20], value)),
    [0, 0, 1, 2],
  );
  assert.equal(nearest([], 1), -1);
});

test("new points are added behind the columns", () => {
  const grown = withTail(columnsOf([1, 2]), tailOf(2, [3, Number.NaN]), "step");
  assert.ok(grown);
  assert.deepEqual([...grown.x], [0, 1, 2, 3]);
  assert.deepEqual([...grown.nonfinite], [0, 0, 0, 1]);
  assert.equal(grown.total, 4);
});

test("points that are there already are not added twice", () => {
  const columns = columnsOf([1, 2]);
  assert.equal(withTail(columns, tailOf(0, [1, 2]), "step"), columns);
  assert.deepEqual([...(withTail(columns, tailOf(1, [2, 3]), "step")?.last ?? [])], [1, 2, 3]);
});

test("a tail that leaves points out, or a rewound series, has to be fetched anew", () => {
  const columns = columnsOf([1, 2, 3]);
  assert.equal(withTail(columns, tailOf(4, [5]), "step"), null);
  assert.equal(withTail(columns, tailOf(3, [4], 9), "step"), null);
  assert.equal(withTail(columns, tailOf(3, [], 2), "step"), null);
});

test("the place of a new point follows its axis", () => {
  const relative = columnsOf([1, 2]);
  relative.x.set([0, 1]);
  assert.deepEqual([...(withTail(relative, tailOf(2, [3]), "relative")?.x ?? [])], [0, 1, 2]);
  const time = columnsOf([1]);
  time.x.set([100]);
  assert.deepEqual([...(withTail(time, tailOf(1, [2]), "time")?.x ?? [])], [100, 101]);
});

test("a step that goes back has to be drawn anew by the server", () => {
  const tail = tailOf(2, [9]);
  tail.steps[0] = -1;
  assert.equal(withTail(columnsOf([1, 2]), tail, "step"), null);
});
