import assert from "node:assert/strict";
import { test } from "node:test";
import { foldingOf, groupsOf, openAtFirst, type Visible, visibleOf } from "../src/pages/graph/fold";
import { layOut, lengthOf, MOST_LENGTH, pathOf, shorten } from "../src/pages/graph/layout";
import { findNodes, inOrder, nameOf, readGraph } from "../src/pages/graph/model";

type Node = { id: string; type: string; label: string; shape?: number[] };
const operation = (id: string, label = id): Node => ({ id, type: "operation", label });
const graphOf = (nodes: Node[], edges: [string, string][]) =>
  readGraph({ nodes, edges: edges.map(([source, target]) => ({ source, target })) });

/** Blocks of three operations with a way around each. */
function residual(blocks: number, label: (block: number, name: string) => string) {
  const nodes = [operation("in")];
  const edges: [string, string][] = [];
  let last = "in";
  for (let block = 0; block < blocks; block++) {
    const names = ["weight", "conv", "relu", "add"].map((name) => `${name}${block}`);
    const [weight, conv, relu, add] = names as [string, string, string, string];
    for (const name of names) nodes.push(operation(name, label(block, name)));
    edges.push([last, conv], [weight, conv], [conv, relu], [relu, add], [last, add]);
    last = add;
  }
  return graphOf(nodes, edges);
}
const plain = (_: number, name: string) => name;

function hasCircle({ items, edges }: Visible): boolean {
  const waiting = items.map((_, at) => edges.filter(({ to }) => to === at).length);
  const ready = waiting.flatMap((count, at) => (count === 0 ? [at] : []));
  let done = 0;
  for (let at = ready.pop(); at !== undefined; at = ready.pop()) {
    done++;
    for (const { from, to } of edges) if (from === at && --(waiting[to] as number) === 0) ready.push(to);
  }
  return done < items.length;
}

test("a document is a graph, and what is wrong in it is left out", () => {
  const graph = readGraph({
    nodes: [{ id: 1, type: "tensor", label: null, shape: [2, 3] }, { id: "a" }, { id: "a" }, 7, {}],
    edges: [{ source: 1, target: "a" }, { source: 1, target: "a" }, { source: "x", target: "a" }, null],
  });
  assert.deepEqual(
    graph.nodes.map(({ id }) => id),
    ["1", "a"],
  );
  assert.deepEqual(
    [graph.edges, graph.before, graph.after, graph.loose],
    [[[0, 1]], [[], [0]], [[1], []], 2],
  );
  assert.deepEqual(graph.nodes.map(nameOf), ["2 × 3", "a"]);
  assert.throws(() => readGraph({ nodes: [] }), /no graph/);
  assert.throws(() => readGraph(null), /no graph/);
});

test("a node stands behind those it comes from, and a circle ends", () => {
  const graph = graphOf(
    [operation("c"), operation("b"), operation("a")],
    [
      ["a", "b"],
      ["b", "c"],
      ["a", "c"],
    ],
  );
  assert.deepEqual(inOrder(graph), [2, 1, 0]);
  const circle = graphOf(
    [operation("a"), operation("b")],
    [
      ["a", "b"],
      ["b", "a"],
    ],
  );
  assert.equal(inOrder(circle).length, 2);
});

test("small graphs are not folded", () => {
  const graph = residual(3, plain);
  const folding = foldingOf(graph);
  assert.equal(folding.groups.length, 0);
  assert.equal(visibleOf(graph, folding, new Set()).items.length, graph.nodes.length);
});

test("labels with scopes fold by scope, level by level", () => {
  const graph = residual(300, (block, name) => `stage${Math.floor(block / 30)}/block${block}/${name}`);
  const folding = foldingOf(graph);
  const seen = visibleOf(graph, folding, new Set());
  assert.equal(seen.items.length, 11);
  const stages = seen.items.filter((item) => item.group !== null).map((item) => item.label);
  assert.deepEqual([stages.length, stages[0]], [10, "stage0"]);
  const place = graph.placeOf.get("relu31") as number;
  const inside = groupsOf(folding, place).map((at) => folding.groups[at]);
  assert.deepEqual(
    inside.map((group) => [group?.label, group?.size]),
    [
      ["stage1", 120],
      ["stage1/block31", 4],
    ],
  );
  const opened = visibleOf(graph, folding, new Set(inside.map((group) => group?.id as string)));
  assert.equal(opened.items[opened.itemOf[place] as number]?.node, place);
  assert.equal(opened.items.length, 1 + 9 + 29 + 4);
});

test("without scopes a large graph folds into lines, and grouping makes no circle", () => {
  const graph = residual(500, plain);
  const folding = foldingOf(graph);
  const seen = visibleOf(graph, folding, new Set());
  assert.ok(seen.items.length <= 300, String(seen.items.length));
  assert.equal(hasCircle(seen), false);
  const sizes = seen.items.map(({ group }) => (group === null ? 1 : (folding.groups[group]?.size ?? 0)));
  assert.equal(
    sizes.reduce((sum, size) => sum + size, 0),
    graph.nodes.length,
  );
  assert.ok(Math.max(...sizes) <= 64, String(Math.max(...sizes)));
  assert.ok(seen.edges.length >= seen.items.length - 1);
});

test("one long line folds into groups of groups, none of which opens to too much", () => {
  const nodes = Array.from({ length: 3_000 }, (_, at) => operation(`n${at}`));
  const graph = graphOf(
    nodes,
    nodes.slice(1).map((node, at) => [`n${at}`, node.id]),
  );
  const folding = foldingOf(graph);
  const first = visibleOf(graph, folding, openAtFirst(graph, folding));
  assert.ok(first.items.length <= 120 && first.items.length > 1, String(first.items.length));
  const inside = groupsOf(folding, 1_500).map((at) => folding.groups[at]?.id as string);
  const opened = visibleOf(graph, folding, new Set(inside));
  assert.equal(opened.items[opened.itemOf[1_500] as number]?.node, 1_500);
  assert.ok(opened.items.length <= 200, String(opened.items.length));
});

test("a graph in which all is connected with all is still folded", () => {
  const nodes = Array.from({ length: 600 }, (_, at) => operation(`n${at}`));
  const edges = nodes.flatMap((from, at) =>
    [1, 7, 31].flatMap((step): [string, string][] =>
      nodes[at + step] ? [[from.id, nodes[at + step]?.id as string]] : [],
    ),
  );
  const graph = graphOf(nodes, edges);
  const seen = visibleOf(graph, foldingOf(graph), new Set());
  assert.ok(seen.items.length <= 500, String(seen.items.length));
  assert.equal(hasCircle(seen), false);
});

test("the same graph is folded the same, so that what is open can stand in an address", () => {
  const ids = () => foldingOf(residual(200, plain)).groups.map(({ id }) => id);
  assert.deepEqual(ids(), ids());
  assert.equal(new Set(ids()).size, ids().length);
});

test("nodes are found by label, id and type", () => {
  const graph = graphOf([operation("a", "MulBackward0"), { id: "t1", type: "tensor", label: "" }], []);
  assert.deepEqual(
    ["mul", "T1", "tensor", " ", "zzz"].map((text) => findNodes(graph, text)),
    [[0], [1], [1], [], []],
  );
});

test("what comes from something is laid out below it, and nothing overlaps", () => {
  const graph = residual(20, plain);
  const visible = visibleOf(graph, foldingOf(graph), new Set());
  const { items, ways } = layOut(visible);
  for (const { from, to, points } of ways) {
    assert.ok((items[from]?.y as number) < (items[to]?.y as number));
    assert.ok(points.length >= 2);
  }
  for (const [at, one] of items.entries()) {
    for (const other of items.slice(at + 1)) {
      const apart =
        Math.abs(one.x - other.x) >= (one.width + other.width) / 2 ||
        Math.abs(one.y - other.y) >= (one.height + other.height) / 2;
      assert.ok(apart);
    }
  }
});

test("a graph with many long edges is laid out, too, and soon", () => {
  const items = Array.from({ length: 400 }, (_, at) => ({
    key: `${at}`,
    node: at,
    group: null,
    label: `n${at}`,
  }));
  const edges = items.flatMap((_, from) =>
    [1, 7, 31, 90]
      .filter((step) => from + step < items.length)
      .map((step) => ({ from, to: from + step, count: 1 })),
  );
  assert.ok(lengthOf({ items, edges }) > MOST_LENGTH);
  const { items: placed, ways, width, height } = layOut({ items, edges, itemOf: new Int32Array() });
  for (const { from, to } of ways) assert.ok((placed[from]?.y as number) < (placed[to]?.y as number));
  for (const { x, y } of placed) assert.ok(x > 0 && x < width && y > 0 && y < height);
});

test("a large graph with a circle is laid out, too", () => {
  const items = Array.from({ length: 300 }, (_, at) => ({
    key: `${at}`,
    node: at,
    group: null,
    label: `n${at}`,
  }));
  const edges = items.flatMap((_, from) =>
    [1, 50].map((step) => ({ from, to: (from + step) % 300, count: 1 })),
  );
  const { items: placed } = layOut({ items, edges, itemOf: new Int32Array() });
  assert.ok(placed.every(({ x, y }) => Number.isFinite(x) && Number.isFinite(y)));
});

test("an edge is a smooth path, and a long label is cut", () => {
  const points = [
    [0, 0],
    [10, 10],
    [0, 20],
  ].map(([x = 0, y = 0]) => ({ x, y }));
  assert.equal(pathOf(points), "M0.0 0.0Q10.0 10.0 5.0 15.0L0.0 20.0");
  assert.equal(pathOf([]), "");
  assert.deepEqual([shorten("x".repeat(300)).length, shorten("x".repeat(300)).at(-1)], [34, "…"]);
  assert.equal(shorten(`${"scope/".repeat(20)}relu`), "…cope/scope/scope/scope/scope/relu");
});
