// Graphs as they are stored, checked. Pure functions.
import type { Value } from "../../api";
import { hasText } from "../../find";

export interface GraphNode {
  id: string;
  type: string;
  label: string;
  /** All that is stored of it, for the panel. */
  data: { [key: string]: Value };
}

export interface Graph {
  nodes: readonly GraphNode[];
  /** Places of nodes. */
  edges: readonly (readonly [from: number, to: number])[];
  /** Places of nodes before and after each one. */
  before: readonly (readonly number[])[];
  after: readonly (readonly number[])[];
  placeOf: ReadonlyMap<string, number>;
  /** Edges of which an end is missing. */
  loose: number;
}

const isMap = (value: unknown): value is { [key: string]: Value } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** The graph of a stored document; throws where it is none. */
export function readGraph(value: unknown): Graph {
  if (!isMap(value) || !Array.isArray(value.nodes) || !Array.isArray(value.edges)) {
    throw new Error("This is no graph: a graph has lists of nodes and edges.");
  }
  const nodes: GraphNode[] = [];
  const placeOf = new Map<string, number>();
  for (const node of value.nodes) {
    if (!isMap(node) || node.id === undefined || node.id === null) continue;
    const id = String(node.id);
    if (placeOf.has(id)) continue;
    placeOf.set(id, nodes.length);
    nodes.push({ id, type: String(node.type ?? ""), label: String(node.label ?? ""), data: node });
  }
  const before: number[][] = nodes.map(() => []);
  const after: number[][] = nodes.map(() => []);
  const edges: [number, number][] = [];
  const seen = new Set<string>();
  let loose = 0;
  for (const edge of value.edges) {
    const from = isMap(edge) ? placeOf.get(String(edge.source)) : undefined;
    const to = isMap(edge) ? placeOf.get(String(edge.target)) : undefined;
    if (from === undefined || to === undefined) loose++;
    else if (!seen.has(`${from} ${to}`)) {
      seen.add(`${from} ${to}`);
      edges.push([from, to]);
      (after[from] as number[]).push(to);
      (before[to] as number[]).push(from);
    }
  }
  return { nodes, edges, before, after, placeOf, loose };
}

/** What a node is called: its label, or its shape, or its id. */
export function nameOf(node: GraphNode): string {
  if (node.label !== "") return node.label;
  const { shape } = node.data;
  return Array.isArray(shape) && shape.length > 0 ? shape.join(" × ") : node.type || node.id;
}

/** Nodes in an order in which each stands behind those it comes from, but for circles. */
export function inOrder(graph: Graph): number[] {
  const waiting = graph.before.map((some) => some.length);
  const order: number[] = [];
  const ready = waiting.flatMap((count, place) => (count === 0 ? [place] : []));
  const done = new Uint8Array(graph.nodes.length);
  for (let next = 0; order.length < graph.nodes.length; ) {
    const place = ready.pop();
    if (place === undefined) {
      // A circle: it begins anywhere.
      while (done[next] === 1) next++;
      ready.push(next);
      continue;
    }
    if (done[place] === 1) continue;
    done[place] = 1;
    order.push(place);
    for (const after of graph.after[place] as readonly number[]) {
      (waiting[after] as number)--;
      if ((waiting[after] as number) <= 0 && done[after] === 0) ready.push(after);
    }
  }
  return order;
}

/** Places of the nodes that a text is found in: label, id, type. */
export function findNodes(graph: Graph, wanted: string): number[] {
  if (wanted.trim() === "") return [];
  return graph.nodes.flatMap(({ id, label, type }, place) =>
    hasText(`${label}\n${id}\n${type}`, wanted) ? [place] : [],
  );
}
