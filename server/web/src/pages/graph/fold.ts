// Large graphs are folded into groups: by the scopes that labels tell, else by what runs in one line. Pure functions.
import { type Graph, inOrder, nameOf } from "./model";

/** Graphs with more nodes are folded. */
export const MOST_UNFOLDED = 500;
/** Groups are opened by themselves as long as no more is seen than this. */
const FIRST_SEEN = 60;
/** A group with more members has groups inside. */
const MOST_MEMBERS = 60;

export interface Group {
  /** The same each time that the same graph is folded. */
  id: string;
  label: string;
  parent: number | null;
  /** Nodes inside, at any depth. */
  size: number;
}

export interface Folding {
  groups: readonly Group[];
  /** The innermost group of each node; -1 of none. */
  groupOf: Int32Array;
}

/** The groups of a graph; none where it is small enough. */
export function foldingOf(graph: Graph, most: number = MOST_UNFOLDED): Folding {
  const builder = new Builder(graph);
  if (graph.nodes.length <= most) return builder.done();
  if (builder.addScopes() && visibleOf(graph, builder.done(), new Set()).items.length <= most)
    return builder.done();
  const other = new Builder(graph);
  other.addLines(most);
  return other.done();
}

class Builder {
  private readonly groups: Group[] = [];
  private readonly groupOf: Int32Array;
  private readonly order: number[];

  constructor(private readonly graph: Graph) {
    this.groupOf = new Int32Array(graph.nodes.length).fill(-1);
    this.order = inOrder(graph);
  }

  /** Groups by scope; false where most labels tell none. */
  addScopes(): boolean {
    const { nodes } = this.graph;
    const separator = ["/", "."].find(
      (one) => nodes.filter(({ label }) => scopeOf(label, one) !== null).length * 2 >= nodes.length,
    );
    if (separator === undefined) return false;
    const places = new Map<string, number>();
    const groupOf = (scope: string): number => {
      const known = places.get(scope);
      if (known !== undefined) return known;
      const outer = scopeOf(scope, separator);
      const parent = outer === null ? null : groupOf(outer);
      const place = this.add(`scope ${scope}`, scope, parent);
      places.set(scope, place);
      return place;
    };
    const members = new Map<number, number[]>();
    for (const place of this.order) {
      const scope = scopeOf((nodes[place] as { label: string }).label, separator);
      if (scope === null) continue;
      const group = groupOf(scope);
      members.set(group, [...(members.get(group) ?? []), place]);
    }
    for (const [group, some] of members) this.fill(group, some);
    return true;
  }

  /** Groups of what runs in one line, made larger until no more than half of `most` are left. */
  addLines(most: number): void {
    const lines = contracted(this.graph, this.order, most / 2);
    for (const some of lines) {
      if (some.length < 2) continue;
      const [first, last] = [some[0] as number, some[some.length - 1] as number];
      this.fill(
        this.add(
          `line ${this.graph.nodes[first]?.id} ${this.graph.nodes[last]?.id}`,
          this.lineLabel(some),
          null,
        ),
        some,
      );
    }
  }

  done(): Folding {
    for (const group of this.groups) group.size = 0;
    for (const inner of this.groupOf) {
      for (
        let at: number | null = inner < 0 ? null : inner;
        at !== null;
        at = (this.groups[at] as Group).parent
      ) {
        (this.groups[at] as Group).size++;
      }
    }
    return { groups: this.groups, groupOf: this.groupOf };
  }

  private add(id: string, label: string, parent: number | null): number {
    return this.groups.push({ id, label, parent, size: 0 }) - 1;
  }

  /** Put nodes into a group; many of them into groups inside, in order. */
  private fill(group: number, members: readonly number[]): void {
    if (members.length <= MOST_MEMBERS) {
      for (const place of members) this.groupOf[place] = group;
      return;
    }
    const parts = Math.min(MOST_MEMBERS, Math.ceil(members.length / (MOST_MEMBERS / 2)));
    const length = Math.ceil(members.length / parts);
    for (let from = 0; from < members.length; from += length) {
      const some = members.slice(from, from + length);
      const id = `${(this.groups[group] as Group).id} ${from}`;
      this.fill(this.add(id, this.lineLabel(some), group), some);
    }
  }

  /** What a line is called: its first and its last operation. */
  private lineLabel(members: readonly number[]): string {
    const operations = members
      .map((place) => this.graph.nodes[place])
      .filter((node) => node !== undefined && node.type === "operation");
    const [first, last] = [operations[0], operations.at(-1)];
    if (first === undefined || last === undefined)
      return nameOf(this.graph.nodes[members[0] as number] as never);
    return first === last ? nameOf(first) : `${nameOf(first)} … ${nameOf(last)}`;
  }
}

function scopeOf(label: string, separator: string): string | null {
  const at = label.lastIndexOf(separator);
  return at > 0 && at < label.length - 1 ? label.slice(0, at) : null;
}

/**
 * Nodes by groups, such that no circle comes from grouping: of an edge both ends are put together where it is the only
 * one that leaves, or the only one that enters, for then no other way leads from the one to the other.
 */
function contracted(graph: Graph, order: readonly number[], wanted: number): number[][] {
  const count = graph.nodes.length;
  const owner = Int32Array.from({ length: count }, (_, place) => place);
  const after = graph.after.map((some) => new Set(some));
  const before = graph.before.map((some) => new Set(some));
  const size = new Uint32Array(count).fill(1);
  let left = count;
  const join = (from: number, into: number) => {
    const change = (mine: Set<number>[], theirs: Set<number>[]) => {
      for (const other of mine[from] as Set<number>) {
        theirs[other]?.delete(from);
        if (other === into) continue;
        theirs[other]?.add(into);
        mine[into]?.add(other);
      }
      mine[into]?.delete(from);
    };
    change(after, before);
    change(before, after);
    owner[from] = into;
    (size[into] as number) += size[from] as number;
    left--;
  };
  const only = (some: Set<number> | undefined) =>
    some?.size === 1 ? (some.values().next().value as number) : null;
  const pass = (mayJoin: (from: number, to: number) => boolean) => {
    let joined = 0;
    for (const place of order) {
      if (owner[place] !== place) continue;
      const to = only(after[place]);
      if (to !== null && to !== place && mayJoin(place, to)) {
        join(place, to);
        joined++;
      } else {
        const from = only(before[place]);
        if (from === null || from === place || !mayJoin(from, place)) continue;
        join(place, from);
        joined++;
      }
    }
    return joined;
  };
  const isOne = (some: Set<number> | undefined) => some?.size === 1;
  // Values that one operation takes, then what has one way in and one way out.
  pass((from, to) => before[from]?.size === 0 && isOne(after[from]) && to !== from);
  while (left > 1 && pass((from, to) => isOne(after[from]) && isOne(before[to])) > 0);
  // Where that is not enough: also at forks, but in no group that is much larger than the others.
  for (let most = Math.ceil((2 * count) / wanted); left > wanted && most < 4 * count; most *= 2) {
    while (left > wanted && pass((from, to) => (size[from] as number) + (size[to] as number) <= most) > 0);
  }
  const root = (place: number): number => {
    let at = place;
    while (owner[at] !== at) at = owner[at] as number;
    owner[place] = at;
    return at;
  };
  const groups = new Map<number, number[]>();
  for (const place of order) {
    const at = root(place);
    const group = groups.get(at);
    if (group === undefined) groups.set(at, [place]);
    else group.push(place);
  }
  if (groups.size <= 2 * wanted) return [...groups.values()];
  // No such edges: stretches of the order are still without circles among each other.
  const length = Math.ceil(count / wanted);
  return Array.from({ length: Math.ceil(count / length) }, (_, at) =>
    order.slice(at * length, (at + 1) * length),
  );
}

export interface Item {
  /** Of a node or of a group, told apart. */
  key: string;
  /** Place of the node, or null of a group. */
  node: number | null;
  group: number | null;
  label: string;
}

export interface Visible {
  items: readonly Item[];
  edges: readonly { from: number; to: number; count: number }[];
  /** The item in which each node is seen. */
  itemOf: Int32Array;
}

/** What is seen while some groups are open. */
export function visibleOf(graph: Graph, folding: Folding, open: ReadonlySet<string>): Visible {
  const items: Item[] = [];
  const ofGroup = new Map<number, number>();
  const itemOf = new Int32Array(graph.nodes.length);
  graph.nodes.forEach((node, place) => {
    const closed = outermostClosed(folding, place, open);
    if (closed === null) {
      itemOf[place] =
        items.push({ key: `node ${node.id}`, node: place, group: null, label: nameOf(node) }) - 1;
      return;
    }
    const known = ofGroup.get(closed);
    if (known !== undefined) {
      itemOf[place] = known;
      return;
    }
    const { id, label } = folding.groups[closed] as Group;
    const at = items.push({ key: id, node: null, group: closed, label }) - 1;
    ofGroup.set(closed, at);
    itemOf[place] = at;
  });
  const edges = new Map<string, { from: number; to: number; count: number }>();
  for (const [source, target] of graph.edges) {
    const [from, to] = [itemOf[source] as number, itemOf[target] as number];
    if (from === to) continue;
    const key = `${from} ${to}`;
    const edge = edges.get(key) ?? { from, to, count: 0 };
    edge.count++;
    edges.set(key, edge);
  }
  return { items, edges: [...edges.values()], itemOf };
}

/** Groups of a node, the outermost first. */
export function groupsOf(folding: Folding, place: number): number[] {
  const found: number[] = [];
  const inner = folding.groupOf[place] as number;
  for (
    let at: number | null = inner < 0 ? null : inner;
    at !== null;
    at = (folding.groups[at] as Group).parent
  )
    found.unshift(at);
  return found;
}

function outermostClosed(folding: Folding, place: number, open: ReadonlySet<string>): number | null {
  // A group of one is that one.
  return (
    groupsOf(folding, place).find((at) => {
      const { id, size } = folding.groups[at] as Group;
      return size > 1 && !open.has(id);
    }) ?? null
  );
}

/** The groups that are open at first: level by level, as long as not too much is seen. */
export function openAtFirst(graph: Graph, folding: Folding): ReadonlySet<string> {
  let open = new Set<string>();
  const depthOf = (group: Group): number =>
    group.parent === null ? 0 : 1 + depthOf(folding.groups[group.parent] as Group);
  const depths = folding.groups.map(depthOf);
  const deepest = Math.max(-1, ...depths);
  for (let depth = 0; depth <= deepest; depth++) {
    const next = new Set([
      ...open,
      ...folding.groups.filter((_, at) => depths[at] === depth).map(({ id }) => id),
    ]);
    if (visibleOf(graph, folding, next).items.length > FIRST_SEEN) break;
    open = next;
  }
  return open;
}
