import assert from "node:assert/strict";
import { test } from "node:test";
import { type Columns, type Damaged, decodeSeries, isWhole } from "../src/api";

function encode(header: unknown, arrays: number[][]): ArrayBuffer {
  const json = new TextEncoder().encode(JSON.stringify(header));
  const start = Math.ceil((4 + json.length) / 8) * 8;
  const body = new ArrayBuffer(start + arrays.flat().length * 8);
  new DataView(body).setUint32(0, json.length, true);
  new Uint8Array(body, 4).set(json);
  new Float64Array(body, start).set(arrays.flat());
  return body;
}

test("series come as views of the answer, missing and damaged ones in their places", () => {
  const header = {
    series: [
      { exact: true, axis: "step", n: 2, arrays: ["x", "last"] },
      null,
      { error: "damaged" },
      { exact: false, axis: "step", n: 1, arrays: ["x"] },
    ],
  };
  const body = encode(header, [[1, 2], [0.5, Number.NaN], [9]]);
  const [first, missing, damaged, last] = decodeSeries(body) as unknown as (Columns | Damaged | null)[];
  assert.ok(first !== undefined && isWhole(first));
  assert.deepEqual([...first.x], [1, 2]);
  assert.deepEqual([...first.last], [0.5, Number.NaN]);
  assert.equal(first.x.buffer, body);
  assert.equal(missing, null);
  assert.deepEqual(damaged, { error: "damaged" });
  assert.ok(last !== undefined && isWhole(last));
  assert.deepEqual([...last.x], [9]);
});

test("a column may be one number for all, or another column again", () => {
  const header = {
    series: [
      { n: 3, arrays: ["x", ["step", "x"], ["odd"], "last"] },
      { n: 1, arrays: ["x"] },
    ],
  };
  const [first, second] = decodeSeries(encode(header, [[1, 2, 3], [7], [4, 5, 6], [9]]));
  assert.deepEqual(first?.step, Float64Array.of(1, 2, 3));
  assert.deepEqual(first?.odd, Float64Array.of(7, 7, 7));
  assert.deepEqual(first?.last, Float64Array.of(4, 5, 6));
  assert.deepEqual(second?.x, Float64Array.of(9));
});

test("the header may have any length", () => {
  for (let length = 0; length < 9; length++) {
    const header = { series: [{ n: 1, arrays: ["x"], pad: " ".repeat(length) }] };
    const [series] = decodeSeries(encode(header, [[42]]));
    assert.deepEqual(series?.x, new Float64Array([42]));
  }
});
