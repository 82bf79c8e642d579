import assert from "node:assert/strict";
import { test } from "node:test";
import type { Field, Fields } from "../src/api";
import {
  defaultColumns,
  describeColumn,
  directionOf,
  moved,
  nextOrder,
  splitSeries,
} from "../src/pages/runs/columns";
import { partsOf } from "../src/pages/runs/parts";

const field = (name: string, differs: boolean, numbers = 0): Field => ({
  name,
  count: 3,
  numbers,
  texts: 3 - numbers,
  booleans: 0,
  others: 0,
  nonfinite: 0,
  min: null,
  max: null,
  values: ["a"],
  differs,
});
const FIELDS: Fields = {
  total: 3,
  fields: [
    field("parameters.lr", true, 3),
    field("parameters.model", false),
    field("tags.team", true),
    field("metadata.run.pid", true, 3),
    field("metadata.colour", true),
  ],
  series: [
    { kind: "metric", name: "accuracy", trials: 1 },
    { kind: "metric", name: "loss", trials: 3 },
    { kind: "metric", name: 'memory{source="system"}', trials: 3 },
    { kind: "chrono", name: "runtime", trials: 3 },
  ],
  statuses: {},
  more: false,
};

test("the columns at first are what differs and the metrics of most runs, not what is noted of every run", () => {
  assert.deepEqual(defaultColumns(FIELDS, "p"), [
    "status",
    "started",
    "duration",
    "metrics.loss.last",
    "metrics.accuracy.last",
    "parameters.lr",
    "tags.team",
  ]);
  assert.ok(defaultColumns(FIELDS, null).includes("project"));
});

test("a metric's name may hold dots; only a last part that is a statistic is one", () => {
  assert.deepEqual(splitSeries("metrics.val.loss.min"), {
    root: "metrics",
    series: "val.loss",
    statistic: "min",
  });
  assert.deepEqual(splitSeries("metrics.val.loss"), { root: "metrics", series: "val.loss", statistic: null });
  assert.deepEqual(splitSeries("metrics.min"), { root: "metrics", series: "min", statistic: null });
  assert.equal(splitSeries("parameters.lr"), null);
});

test("a column of numbers is one by what its values are", () => {
  assert.equal(describeColumn("parameters.lr", FIELDS).kind, "number");
  assert.equal(describeColumn("tags.team", FIELDS).kind, "text");
  assert.equal(describeColumn("chronos.runtime.mean", FIELDS).kind, "duration");
});

test("clicks sort upwards, downwards, and as before; with Shift beside the others", () => {
  assert.deepEqual(nextOrder([], "a", false), ["a"]);
  assert.deepEqual(nextOrder(["a"], "a", false), ["-a"]);
  assert.deepEqual(nextOrder(["-a"], "a", false), []);
  assert.deepEqual(nextOrder(["a"], "b", true), ["a", "b"]);
  assert.deepEqual(nextOrder(["a", "b"], "a", true), ["-a", "b"]);
  assert.deepEqual(nextOrder(["-a", "b"], "a", true), ["b"]);
  assert.equal(directionOf(["-a"], "a"), "descending");
});

test("a column moves to its place", () => {
  assert.deepEqual(moved(["a", "b", "c"], "a", 2), ["b", "c", "a"]);
  assert.deepEqual(moved(["a", "b", "c"], "c", 0), ["c", "a", "b"]);
});

test("a filter's parts are joined by and, outside of parentheses and quotes", () => {
  assert.deepEqual(partsOf('lr < 0.1 and (a = 1 or b = 2) AND name ~ "x and y"'), [
    "lr < 0.1",
    "(a = 1 or b = 2)",
    'name ~ "x and y"',
  ]);
  assert.deepEqual(partsOf("a = 1 or b = 2"), ["a = 1 or b = 2"]);
  assert.deepEqual(partsOf("a = 1 and b = 2 or c = 3"), ["a = 1 and b = 2 or c = 3"]);
});
