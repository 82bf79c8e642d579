import assert from "node:assert/strict";
import { test } from "node:test";
import {
  choice,
  flag,
  formatLocation,
  json,
  list,
  number,
  optionalList,
  parseLocation,
  readAddress,
  text,
  wholeAddress,
} from "../src/state";

test("an address keeps its view and parameters through writing and reading", () => {
  const address = "charts?project=p1&filter=lr+<+0.1&smooth=0.9";
  const [path = "", search = ""] = address.split("?");
  const location = parseLocation(path, search);
  assert.equal(location.view, "charts");
  assert.equal(text().read(location.params.get("filter") ?? null), "lr < 0.1");
  assert.equal(formatLocation(location), address);
});

test("a path that names no view is the first page", () => {
  assert.equal(parseLocation("/nothing/here", "").view, "home");
  assert.equal(formatLocation(parseLocation("/", "")), "");
});

test("any text comes back as it was", () => {
  for (const value of ['a & b = "c" + 50% #1', "ä/ü, 漢字", "a,b", "", "+"]) {
    const written = text().write(value);
    const read = parseLocation("", `t=${written ?? ""}`).params.get("t") ?? null;
    assert.equal(text().read(read), value);
  }
});

test("a list keeps commas inside its items", () => {
  const value = ["metrics.loss.min", "tags.a,b", "x y"];
  assert.deepEqual(list.read(list.write(value)), value);
  assert.equal(list.write([]), null);
});

test("a list that was emptied differs from one that was never chosen", () => {
  assert.deepEqual(optionalList.read(optionalList.write([])), []);
  assert.equal(optionalList.read(optionalList.write(null)), null);
});

const readCount = (value: unknown) => (typeof value === "number" ? value : null);

test("what an address says wrongly is the default", () => {
  assert.equal(number(3).read("x"), 3);
  assert.equal(choice(["a", "b"], "a").read("c"), "a");
  assert.equal(flag.read("yes"), false);
  for (const wrong of ["%7Bbroken", "null", "7", "[1]", '{"a":null}', '{"a":"text"}']) {
    assert.deepEqual(json(readCount).read(wrong), {});
  }
  assert.deepEqual(list.read(",a,,b,"), ["a", "b"]);
  assert.equal(text().read("%"), "%");
});

test("a default is not written", () => {
  assert.equal(number(3).write(3), null);
  assert.equal(json(readCount).write({}), null);
});

test("in a frame the view is a parameter of the one path that may be framed", () => {
  const framed = parseLocation("/embed", "?view=charts&project=p");
  assert.equal(framed.view, "charts");
  assert.deepEqual([...framed.params], [["project", "p"]]);
  assert.equal(formatLocation(framed, true), "embed?view=charts&project=p");
  assert.equal(formatLocation(parseLocation("/embed", ""), true), "embed");
});

test("a link with many selected runs holds them all, behind what a server gets", () => {
  const ids = Array.from({ length: 2_000 }, (_, at) => at.toString(16).padStart(32, "0"));
  const location = { view: "compare" as const, params: new Map([["sel", ids.join(",")]]) };
  const address = new URL(wholeAddress(location), "http://localhost/");
  assert.equal(address.pathname + address.search, "/compare");
  assert.deepEqual(readAddress(address.pathname, address.search, address.hash), location);
  assert.equal(wholeAddress({ view: "runs", params: new Map([["sel", "a"]]) }), "runs?sel=a");
});
