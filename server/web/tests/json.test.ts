import assert from "node:assert/strict";
import { test } from "node:test";
import { floatOf, formatValue, isWhole, numberOf } from "../src/format";
import { parseJson, writeJson } from "../src/json";
import { list, json as stateOf } from "../src/state";

/** Numbers from 0 to 1, the same ones each time. */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Texts that look like what could be mistaken: numbers, quotes, ends of values. */
const TEXTS = [
  "",
  "9007199254740993",
  '"',
  "\\",
  ":-9007199254740993,",
  '\\"[9007199254740993]',
  "é\ud83d\ude00\n",
  "__proto__",
];

function anyValue(random: () => number, depth: number): unknown {
  const pick = Math.floor(random() * (depth > 0 ? 9 : 7));
  const digits = (count: number) => Array.from({ length: count }, () => Math.floor(random() * 10)).join("");
  if (pick === 0) return null;
  if (pick === 1) return random() < 0.5;
  if (pick === 2) return TEXTS[Math.floor(random() * TEXTS.length)];
  if (pick === 3) return (random() - 0.5) * 10 ** Math.floor(random() * 40 - 20);
  if (pick === 4) return Math.floor((random() - 0.5) * Number.MAX_SAFE_INTEGER);
  if (pick < 7) {
    const integer = BigInt(
      `${random() < 0.5 ? "-" : ""}${1 + Math.floor(random() * 9)}${digits(15 + Math.floor(random() * 5))}`,
    );
    return Number.isSafeInteger(Number(integer)) ? Number(integer) : integer;
  }
  const items = Array.from({ length: Math.floor(random() * 4) }, () => anyValue(random, depth - 1));
  if (pick === 7) return items;
  return Object.fromEntries(
    items.map((item) => [`${TEXTS[Math.floor(random() * TEXTS.length)]}${digits(3)}`, item]),
  );
}

test("any value is the same after it was written and read, to the last digit", () => {
  const random = randomOf(7);
  let long = 0;
  for (let round = 0; round < 3_000; round++) {
    const value = anyValue(random, 4);
    const text = writeJson(value);
    assert.deepEqual(parseJson(text), value, text);
    assert.deepEqual(parseJson(writeJson(value, 2)), value, text);
    if (/\d{17}/.test(text)) long++;
  }
  assert.ok(long > 300, `${long}`);
});

test("an integer of the service stays what it is, beside floats and texts with as many digits", () => {
  const text =
    '{"a":9007199254740993,"b":[-9223372036854775808,18446744073709551615],"c":0.1234567890123456,"d":"9007199254740993","e":9007199254740991,"f":1e+16,"g":9007199254740993.0}';
  assert.deepEqual(parseJson(text), {
    a: 9007199254740993n,
    b: [-9223372036854775808n, 18446744073709551615n],
    c: 0.1234567890123456,
    d: "9007199254740993",
    e: 9007199254740991,
    f: 1e16,
    g: 9007199254740992,
  });
  assert.equal(writeJson(parseJson("[9007199254740993]")), "[9007199254740993]");
});

test("what is no JSON is refused, also with a long integer in it", () => {
  for (const text of ["", "[9007199254740993", "[9007199254740993,]", "[09007199254740993]"]) {
    assert.throws(() => parseJson(text), SyntaxError, text);
  }
});

test("a long integer is written with all its digits and counts as a number", () => {
  assert.equal(formatValue(-9007199254740993n), "−9,007,199,254,740,993");
  assert.equal(formatValue(9007199254740991), "9,007,199,254,740,991");
  assert.equal(numberOf(9007199254740993n), 9007199254740993n);
  assert.equal(floatOf(9007199254740993n), 9007199254740992);
  assert.ok(isWhole(9007199254740993n) && isWhole(3) && !isWhole(0.5) && !isWhole("3"));
});

test("the address holds a long integer", () => {
  const codec = stateOf((value) => value);
  const value = { "parameters.seed": { values: [9007199254740993n, 9007199254740992n] } };
  assert.deepEqual(codec.read(codec.write(value)), value);
  assert.deepEqual(list.read(list.write(["9007199254740993"])), ["9007199254740993"]);
});
