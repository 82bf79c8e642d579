import assert from "node:assert/strict";
import { test } from "node:test";
import type { Trial } from "../src/api";
import { flatten } from "../src/flat";
import { droppedOf, headFacts, outputOf, outputTitle } from "../src/pages/run/facts";
import { blocksOf, Markdown } from "../src/parts/markdown";

/** All elements and texts below a node. */
function walk(node: unknown, found: { types: string[]; texts: string[]; links: string[] }): typeof found {
  if (typeof node === "string") found.texts.push(node);
  else if (Array.isArray(node)) for (const each of node) walk(each, found);
  else if (node !== null && typeof node === "object" && "type" in node) {
    const { type, props } = node as { type: unknown; props: { children?: unknown; href?: string } };
    if (typeof type === "function") return walk(type(props), found);
    found.types.push(String(type));
    if (props.href !== undefined) found.links.push(props.href);
    walk(props.children, found);
  }
  return found;
}

const rendered = (text: string) => walk(Markdown({ text }), { types: [], texts: [], links: [] });

test("the kinds of blocks of a text are recognised", () => {
  const text =
    "# Title\n\nA line\nand one more\n\n- one\n- two\n\n1. first\n\n```\n# no heading\n```\n> said";
  assert.deepEqual(
    blocksOf(text).map((block) => block.kind),
    ["heading", "paragraph", "list", "list", "code", "quote"],
  );
});

test("HTML is text", () => {
  const { types, texts } = rendered("<img src=x onerror=alert(1)> <script>alert(2)</script>");
  assert.ok(!types.includes("img") && !types.includes("script"));
  assert.match(texts.join(""), /<img src=x onerror=alert\(1\)>/);
});

test("only addresses of http and https are links", () => {
  const { links } = rendered(
    "[a](javascript:alert(1)) [b](https://example.org/x) http://example.org data:text/html,x",
  );
  assert.deepEqual(links, ["https://example.org/x", "http://example.org"]);
});

test("nested values are flat, lists and empty maps are leaves", () => {
  assert.deepEqual(flatten({ model: { depth: 3, opt: {} }, sizes: [1, 2] }), [
    { name: "model.depth", value: 3 },
    { name: "model.opt", value: {} },
    { name: "sizes", value: [1, 2] },
  ]);
});

const trialWith = (metadata: object) => ({ metadata }) as unknown as Parameters<typeof outputOf>[0];

test("captured output is found by stream and rank", () => {
  const found = outputOf(trialWith({ out: ["a\n", "b"], err_1: "x", out_x: "no" }));
  assert.deepEqual(found, [
    { name: "out", text: "a\nb" },
    { name: "err_1", text: "x" },
  ]);
  assert.equal(outputTitle("err_1"), "Error output of rank 1");
});

test("what was dropped is reported with its reasons", () => {
  assert.deepEqual(droppedOf(trialWith({ dropped_points: { points: 3, reasons: { "too long": 3 } } })), {
    points: 3,
    reasons: [["too long", 3]],
  });
  assert.equal(droppedOf(trialWith({})), null);
});

test("the head of a run names host, ranks, commit and command, as far as they are known", () => {
  const of = (metadata: object) =>
    headFacts({ metadata } as Trial).map(({ name, text }) => `${name} ${text}`);
  const git = { commit: "0123456789abcdef", dirty: true };
  const run = { user: "ann", host: "node1", command: "train.py --lr 1", git, rank: 0, world_size: 4 };
  assert.deepEqual(of({ run, ranks: [0, 1] }), [
    "Host node1",
    "Ranks 2 of 4",
    "Git 0123456789 + changes",
    "Command train.py --lr 1",
  ]);
  assert.deepEqual(of({ run: { host: "node1", rank: 3 } }), ["Host node1", "Ranks 1"]);
  assert.deepEqual(of({}), []);
});
