import assert from "node:assert/strict";
import { test } from "node:test";
import type { Field, Fields } from "../src/api";
import { complete, filterAnd, filterEquals, filterName } from "../src/complete";

const field = (name: string, values: Field["values"]): Field => ({
  name,
  count: 3,
  numbers: 0,
  texts: 3,
  booleans: 0,
  others: 0,
  nonfinite: 0,
  min: null,
  max: null,
  values,
  differs: true,
});
const FIELDS: Fields = {
  total: 3,
  fields: [
    field("parameters.lr", [0.1, 0.01]),
    field("parameters.optimizer", ["adam", "sgd"]),
    field("parameters.weight decay", [0]),
  ],
  series: [
    { kind: "metric", name: "loss", trials: 3 },
    { kind: "image", name: "samples", trials: 3 },
  ],
  statuses: { Running: 1, Completed: 2 },
  more: false,
};
const labels = (text: string, caret = text.length) =>
  complete(text, caret, FIELDS).proposals.map((proposal) => proposal.label);

test("at the beginning stand names, those first that begin so", () => {
  assert.deepEqual(labels("lo"), ["metrics.loss"]);
  assert.equal(labels("status = running and opt")[0], "parameters.optimizer");
  assert.equal(labels("lr")[0], "parameters.lr");
  assert.ok(!labels("").includes("images.samples"));
});

test("after an operator stand the values of that name", () => {
  assert.deepEqual(labels("optimizer = "), ["adam", "sgd"]);
  assert.deepEqual(labels("optimizer in (adam, s"), ["sgd"]);
  assert.deepEqual(labels("status = "), ["running", "completed"]);
});

test("after a name stand operators, after a comparison the words that join", () => {
  assert.ok(labels("lr ").includes("<="));
  assert.deepEqual(labels("lr < 0.1 "), ["and", "or"]);
  assert.deepEqual(labels("lr < 0.1 a"), ["and"]);
});

test("a proposal takes the place of the word before the caret", () => {
  const found = complete("wei and x = 1", 3, FIELDS);
  assert.deepEqual([found.from, found.to], [0, 3]);
  assert.equal(found.proposals[0]?.insert, 'parameters."weight decay"');
});

test("names and values are quoted where the language wants it", () => {
  assert.equal(filterName("metrics.loss.min"), "metrics.loss.min");
  assert.equal(filterEquals("parameters.model", "res net"), 'parameters.model = "res net"');
  assert.equal(filterEquals("parameters.lr", 0.1), "parameters.lr = 0.1");
  assert.equal(filterEquals("tags.seed", null), "not tags.seed exists");
  assert.equal(filterAnd("a = 1 or b = 2", "c = 3"), "(a = 1 or b = 2) and c = 3");
});
