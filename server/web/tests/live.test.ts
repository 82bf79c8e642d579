import assert from "node:assert/strict";
import { test } from "node:test";
import { EventParser, emptyChange, mergeChange } from "../src/live";

const STREAM =
  'id: 6\n: hello\n\nevent: changed\nid: 7\ndata: {"trials":\ndata: ["a"]}\n\nevent: reset\r\ndata: {}\r\n\r\n';

test("events are the same in whatever pieces their text arrives", () => {
  const whole = new EventParser().feed(STREAM);
  assert.deepEqual(whole, [
    null,
    { event: "", id: "6", data: "" },
    { event: "changed", id: "7", data: '{"trials":\n["a"]}' },
    { event: "reset", id: "7", data: "{}" },
  ]);
  for (let cut = 1; cut < STREAM.length; cut++) {
    const parser = new EventParser();
    const found = [...parser.feed(STREAM.slice(0, cut)), ...parser.feed(STREAM.slice(cut))];
    assert.deepEqual(found, whole, `cut at ${cut}`);
  }
});

test("changes add up, and a deleted run is no longer a changed one", () => {
  const change = emptyChange();
  mergeChange(change, { type: "changed", data: { trials: ["a", "b"] } });
  mergeChange(change, { type: "changed", data: { deleted: ["a"], projects: ["p"] } });
  assert.deepEqual([...change.trials], ["b"]);
  assert.deepEqual([...change.deleted], ["a"]);
  assert.equal(change.reset, false);
  mergeChange(change, { type: "reset", data: {} });
  assert.equal(change.reset, true);
});
