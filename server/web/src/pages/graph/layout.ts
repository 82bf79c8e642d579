// Places of nodes and ways of edges: dagre, which comes with this page only.
import { Graph, layout } from "@dagrejs/dagre";
import type { Visible } from "./fold";

export interface Placed {
  x: number;
  y: number;
  width: number;
  height: number;
}
export interface Way {
  from: number;
  to: number;
  count: number;
  points: readonly { x: number; y: number }[];
}
export interface Layout {
  /** Middle and size of each item. */
  items: readonly Placed[];
  ways: readonly Way[];
  width: number;
  height: number;
}

const LONGEST_LABEL = 34;
/** Graphs with more items get a quicker, less careful order of ranks. */
const CAREFUL = 250;

/** A label as it is drawn; of one with scopes the end counts. */
export function shorten(label: string): string {
  if (label.length <= LONGEST_LABEL) return label;
  return /[/.]/.test(label.slice(0, -1))
    ? `…${label.slice(1 - LONGEST_LABEL)}`
    : `${label.slice(0, LONGEST_LABEL - 1)}…`;
}

/** Pixels. */
const NODE_GAP = 18;
const RANK_GAP = 30;
const MARGIN = 20;
/**
 * Ranks that all edges cross together, at most, for dagre to lay out a graph: it makes a node of each crossing, and
 * would hold up the page for many seconds.
 */
export const MOST_LENGTH = 3_000;
const SWEEPS = 4;

/** Lay out what is seen. */
export function layOut(visible: Visible): Layout {
  const sizes = visible.items.map((item) => ({
    width: Math.max(44, shorten(item.label).length * 6.8 + 24),
    height: item.group === null ? 26 : 40,
  }));
  return lengthOf(visible) > MOST_LENGTH ? inRows(visible, sizes) : byDagre(visible, sizes);
}

type Sizes = readonly { width: number; height: number }[];

function byDagre(visible: Visible, sizes: Sizes): Layout {
  const graph = new Graph();
  graph.setGraph({
    rankdir: "TB",
    nodesep: NODE_GAP,
    ranksep: RANK_GAP,
    marginx: MARGIN,
    marginy: MARGIN,
    ranker: visible.items.length > CAREFUL ? "tight-tree" : "network-simplex",
  });
  graph.setDefaultEdgeLabel(() => ({}));
  sizes.forEach((size, at) => {
    graph.setNode(String(at), { ...size });
  });
  for (const { from, to } of visible.edges) graph.setEdge(String(from), String(to));
  layout(graph);
  const { width = 0, height = 0 } = graph.graph() as { width?: number; height?: number };
  return {
    items: visible.items.map((_, at) => {
      const { x, y, width, height } = graph.node(String(at)) as unknown as Placed;
      return { x, y, width, height };
    }),
    ways: visible.edges.map((edge) => {
      const { points } = graph.edge(String(edge.from), String(edge.to)) as unknown as Pick<Way, "points">;
      return { ...edge, points };
    }),
    width,
    height,
  };
}

type Drawn = Pick<Visible, "items" | "edges">;

/** How many ranks all edges cross together. */
export function lengthOf({ items, edges }: Drawn): number {
  const ranks = ranksOf({ items, edges });
  return edges.reduce(
    (sum, { from, to }) => sum + Math.abs((ranks[to] as number) - (ranks[from] as number)),
    0,
  );
}

/** The rank of each item: one more than the last of those it comes from. */
function ranksOf({ items, edges }: Drawn): number[] {
  const after: number[][] = items.map(() => []);
  const waiting = new Uint32Array(items.length);
  for (const { from, to } of edges) {
    after[from]?.push(to);
    (waiting[to] as number)++;
  }
  const ranks = items.map(() => 0);
  const done = new Uint8Array(items.length);
  const ready = items.flatMap((_, at) => (waiting[at] === 0 ? [at] : []));
  for (let next = 0; next < items.length; ) {
    const at = ready.pop();
    if (at === undefined) {
      // Only circles are left: one begins at the first of them.
      while (done[next] === 1) next++;
      if (next < items.length) ready.push(next);
      continue;
    }
    if (done[at] === 1) continue;
    done[at] = 1;
    for (const to of after[at] as number[]) {
      if (done[to] === 1) continue;
      ranks[to] = Math.max(ranks[to] as number, (ranks[at] as number) + 1);
      if (--(waiting[to] as number) === 0) ready.push(to);
    }
  }
  return ranks;
}

/** In rows by rank, each item near the middle of its neighbours; edges run straight. */
function inRows({ items, edges }: Drawn, sizes: Sizes): Layout {
  const ranks = ranksOf({ items, edges });
  const rows: number[][] = [];
  ranks.forEach((rank, at) => {
    const row = rows[rank];
    if (row === undefined) rows[rank] = [at];
    else row.push(at);
  });
  const neighbours: number[][] = items.map(() => []);
  for (const { from, to } of edges) {
    neighbours[from]?.push(to);
    neighbours[to]?.push(from);
  }
  const xs = items.map(() => 0);
  const widthOf = (row: readonly number[]) =>
    row.reduce((sum, at) => sum + (sizes[at]?.width as number) + NODE_GAP, -NODE_GAP);
  const width = Math.max(0, ...rows.map(widthOf)) + 2 * MARGIN;
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (const row of sweep % 2 === 0 ? rows : [...rows].reverse()) {
      const middles = new Map(
        row.map((at) => {
          const near = neighbours[at] as number[];
          const middle = near.reduce((sum, one) => sum + (xs[one] as number), 0) / Math.max(1, near.length);
          return [at, sweep === 0 && near.every((one) => xs[one] === 0) ? at : middle];
        }),
      );
      row.sort((a, b) => (middles.get(a) as number) - (middles.get(b) as number));
      let x = (width - widthOf(row)) / 2;
      for (const at of row) {
        const size = sizes[at]?.width as number;
        xs[at] = x + size / 2;
        x += size + NODE_GAP;
      }
    }
  }
  let y = MARGIN;
  const ys = items.map(() => 0);
  for (const row of rows) {
    const high = Math.max(...row.map((at) => sizes[at]?.height as number));
    for (const at of row) ys[at] = y + high / 2;
    y += high + RANK_GAP;
  }
  const placed = items.map((_, at) => ({
    x: xs[at] as number,
    y: ys[at] as number,
    ...(sizes[at] as Sizes[number]),
  }));
  return {
    items: placed,
    ways: edges.map((edge) => {
      const [from, to] = [placed[edge.from] as Placed, placed[edge.to] as Placed];
      const down = to.y > from.y ? 1 : -1;
      return {
        ...edge,
        points: [
          { x: from.x, y: from.y + (down * from.height) / 2 },
          { x: to.x, y: to.y - (down * to.height) / 2 },
        ],
      };
    }),
    width,
    height: y - RANK_GAP + MARGIN,
  };
}

/** A smooth way through points, as the path of an SVG. */
export function pathOf(points: readonly { x: number; y: number }[]): string {
  const [first, ...rest] = points;
  if (first === undefined) return "";
  const write = ({ x, y }: { x: number; y: number }) => `${x.toFixed(1)} ${y.toFixed(1)}`;
  const parts = [`M${write(first)}`];
  rest.forEach((point, at) => {
    const next = rest[at + 1];
    if (next === undefined) parts.push(`L${write(point)}`);
    else parts.push(`Q${write(point)} ${write({ x: (point.x + next.x) / 2, y: (point.y + next.y) / 2 })}`);
  });
  return parts.join("");
}
