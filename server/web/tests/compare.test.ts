import assert from "node:assert/strict";
import { test } from "node:test";
import type { Trial, Value } from "../src/api";
import {
  bestOf,
  csvOf,
  deltaOf,
  differ,
  isLong,
  rowsOf,
  shownRows,
  withContext,
} from "../src/pages/compare/rows";

type Values = { [name: string]: Value };
const trial = (parameters: Values, metrics: { [name: string]: Values } = {}, metadata: Values = {}) =>
  ({
    ...{ id: "0", uid: "0", name: null, description: null, revision: 0, version: null, hash: "" },
    ...{ tags: {}, errors: [], chronos: {}, media: {}, group_id: null, project_id: null },
    ...{ status: { value: 302, name: "Completed" }, created: 1, started: 1, ended: 2 },
    ...{ parameters, metrics, metadata },
  }) as Trial;
const differing = (...parameters: Values[]) =>
  shownRows(
    rowsOf(
      parameters.map((one) => trial(one)),
      null,
    ),
    "",
    false,
  )
    .filter(({ section }) => section === "Parameters")
    .map(({ name }) => name);

test("exactly the parameters that differ are listed", () => {
  const one = { lr: 0.001, batch: 32, model: { depth: 3, width: 64 }, layers: [1, 2], extra: { a: 1, b: 2 } };
  const other = {
    lr: 1e-3,
    batch: 64,
    model: { depth: 4, width: 64 },
    layers: [1, 3],
    extra: { b: 2, a: 1 },
  };
  assert.deepEqual(differing(one, other), ["batch", "model.depth", "layers"]);
  assert.deepEqual(differing(one, one, other).sort(), ["batch", "layers", "model.depth"]);
  assert.deepEqual(differing(one), []);
});

test("a missing value differs from null, a number from its text, and NaN not from NaN", () => {
  assert.deepEqual(differing({ a: null }, {}), ["a"]);
  assert.deepEqual(differing({ a: 1 }, { a: "1" }), ["a"]);
  assert.deepEqual(differing({ a: 1 }, { a: true }), ["a"]);
  assert.deepEqual(differing({ a: "NaN" }, { a: "NaN" }), []);
  assert.deepEqual(differing({ a: { x: 1 } }, { a: 1 }), ["a.x", "a"]);
  assert.deepEqual(differing({ a: [{ x: 1, y: 2 }] }, { a: [{ y: 2, x: 1 }] }), []);
  assert.equal(differ([1, 1, 2]), true);
});

test("the best value follows the metric's name, and no value that is not finite is best", () => {
  const metrics = (loss: Value, acc: Value) => ({
    loss: { last: loss, min: loss, count: 3 },
    "val/acc": { last: acc, max: acc, count: 3 },
  });
  const rows = rowsOf([trial({}, metrics(0.5, 0.2)), trial({}, metrics("NaN", 0.9))], null);
  const best = Object.fromEntries(
    rows.filter((row) => row.best.length > 0).map((row) => [row.name, row.best]),
  );
  assert.deepEqual(best, { "val/acc last": [1], "val/acc max": [1] });
  assert.deepEqual(bestOf([3, 1, 1, "-Infinity", null, undefined], false), [1, 2]);
  assert.deepEqual(bestOf([2, 2], true), []);
  assert.deepEqual(bestOf([2, null], true), []);
});

test("other statistics are other rows, and a count has no best value", () => {
  const metrics = { loss: { last: 1, min: 0, max: 2, mean: 1, count: 3 } };
  const rows = rowsOf([trial({}, metrics), trial({}, {})], ["max", "count"]);
  assert.deepEqual(
    rows.filter(({ section }) => section === "Metrics").map(({ name, values }) => [name, values]),
    [
      ["loss max", [2, undefined]],
      ["loss count", [3, undefined]],
    ],
  );
});

test("a difference to the baseline needs two numbers", () => {
  assert.deepEqual(deltaOf(3, 2), { difference: 1, share: 0.5 });
  assert.deepEqual(deltaOf(1, -2), { difference: 3, share: 1.5 });
  assert.deepEqual(deltaOf(1, 0), { difference: 1, share: null });
  for (const [value, base] of [
    [1, 1],
    ["a", 1],
    ["NaN", 1],
    [1, undefined],
  ] as const) {
    assert.equal(deltaOf(value, base), null);
  }
});

test("rows are found by section and name, and captured output is a row of its own", () => {
  const rows = rowsOf(
    [trial({ lr: 1 }, {}, { run: { host: "a" }, out: "x\n" }), trial({ lr: 1 }, {}, { run: { host: "b" } })],
    null,
  );
  const names = (find: string, all: boolean) => shownRows(rows, find, all).map(({ name }) => name);
  assert.deepEqual(names("host", false), ["host"]);
  assert.deepEqual(names("parameters", true), ["lr"]);
  assert.deepEqual(names("parameters", false), []);
  assert.deepEqual(names("output", false), ["Output"]);
});

test("texts that are long or have lines are compared line by line", () => {
  assert.deepEqual(["short", "a\nb", "x".repeat(100), 1, null, undefined].map(isLong), [
    ...[false, true, true, false, false, false],
  ]);
});

test("CSV has exact values, and no formula", () => {
  const rows = rowsOf([trial({ lr: 1 / 3, name: "=1+1" }), trial({ lr: "NaN", list: [1, "a"] })], null);
  assert.equal(
    csvOf(["one, two", "b"], shownRows(rows, "parameters", true)),
    `section,name,"one, two",b\r\nParameters,lr,${1 / 3},NaN\r\nParameters,name,'=1+1,\r\nParameters,list,,"[1,""a""]"\r\n`,
  );
});

test("lines that are the same are left out but for those around a change", () => {
  const lines = Array.from({ length: 20 }, (_, at) => ({ kind: at === 10 ? "added" : "same", at }));
  const short = withContext(lines, 2);
  assert.deepEqual(
    short.map((one) => (typeof one === "number" ? -one : one.at)),
    [-8, 8, 9, 10, 11, 12, -7],
  );
  assert.deepEqual(withContext(lines.slice(0, 5)), [5]);
});

test("no learning rate is better than another", () => {
  const runs = [0.1, 0.2].map((last) =>
    trial({}, { "opt/lr": { last, min: last }, loss: { last, min: last } }),
  );
  const rows = rowsOf(runs, ["last"]);
  const best = (name: string) => rows.find((row) => row.name === name)?.best;
  assert.deepEqual([best("opt/lr last"), best("loss last")], [[], [0]]);
});

test("integers beyond 2^53 are compared to the last digit", () => {
  const [low, high] = [2n ** 53n, 2n ** 53n + 1n];
  assert.deepEqual(differing({ seed: low }, { seed: high }), ["seed"]);
  assert.deepEqual(differing({ seed: [high] }, { seed: [high] }), []);
  assert.ok(!differ([low, 2 ** 53]), "the same number, once as a float");
  assert.deepEqual(bestOf([low, high, 2 ** 53], true), [1]);
  assert.deepEqual(bestOf([low, high, 2 ** 53], false), [0, 2]);
  assert.deepEqual(deltaOf(high, low), { difference: 1n, share: 1 / 2 ** 53 });
  assert.equal(deltaOf(high, 0.5)?.difference, 2 ** 53 - 0.5);
  const row = rowsOf([trial({ seed: high })], null).filter(({ name }) => name === "seed");
  assert.equal(csvOf(["a"], row).split("\r\n")[1], "Parameters,seed,9007199254740993");
});
