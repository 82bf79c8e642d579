// The drawing of a graph, and moving about in it.
import type { JSX } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { formatCount, plural } from "../../format";
import { Icon } from "../../parts/icons";
import type { Folding, Item, Visible } from "./fold";
import { type Layout, type Placed, pathOf, shorten } from "./layout";
import type { Graph } from "./model";

export interface CanvasHandle {
  /** Bring an item into the middle. */
  centre: (at: number) => void;
  zoom: (factor: number) => void;
  fit: () => void;
}

interface View {
  x: number;
  y: number;
  scale: number;
}

const LEAST = 0.02;
const GREATEST = 4;
/** A graph that is fitted is not enlarged. */
const FITTED = 1;
/** At this scale labels can be read: a graph that is large is not shown smaller at first. */
const READABLE = 0.75;
const STEP = 1.3;
const PAN = 60;

export interface CanvasProps {
  graph: Graph;
  folding: Folding;
  visible: Visible;
  layout: Layout;
  /** The item that is chosen, and those that a search finds. */
  chosen: number | null;
  found: ReadonlySet<number>;
  onItem: (item: Item) => void;
  handle: { current: CanvasHandle | null };
}

/** A graph that is dragged, and zoomed by the wheel, by buttons and by keys. */
export function Canvas(props: CanvasProps): JSX.Element {
  const { graph, folding, visible, layout, chosen, found } = props;
  const svg = useRef<SVGSVGElement>(null);
  const scene = useRef<SVGGElement>(null);
  const view = useRef<View | null>(null);
  const drag = useRef<{ x: number; y: number; moved: boolean } | null>(null);

  const show = (next: View) => {
    view.current = next;
    scene.current?.setAttribute("transform", `translate(${next.x} ${next.y}) scale(${next.scale})`);
  };
  const size = () => ({ width: svg.current?.clientWidth ?? 0, height: svg.current?.clientHeight ?? 0 });
  const fit = (least = LEAST) => {
    const { width, height } = size();
    const scale = Math.max(least, Math.min(FITTED, width / layout.width, height / layout.height));
    const x = (width - layout.width * scale) / 2;
    // What is too high begins at its top.
    show({ x, y: Math.max(0, (height - layout.height * scale) / 2), scale });
  };
  const zoomAt = (factor: number, x: number, y: number) => {
    const now = view.current;
    if (now === null) return;
    const scale = Math.max(LEAST, Math.min(GREATEST, now.scale * factor));
    const by = scale / now.scale;
    show({ scale, x: x - (x - now.x) * by, y: y - (y - now.y) * by });
  };
  const zoom = (factor: number) => zoomAt(factor, size().width / 2, size().height / 2);
  const centre = (at: number) => {
    const placed = layout.items[at];
    if (placed === undefined) return;
    const { width, height } = size();
    const scale = Math.max(view.current?.scale ?? FITTED, READABLE);
    show({ scale, x: width / 2 - placed.x * scale, y: height / 2 - placed.y * scale });
  };
  props.handle.current = { centre, zoom, fit: () => fit() };

  // What was in the middle stays there when groups are opened or closed.
  const before = useRef<{ visible: Visible; layout: Layout; graph: Graph } | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: only when the picture is another
  useLayoutEffect(() => {
    const old = before.current;
    before.current = { visible, layout, graph };
    const now = view.current;
    if (now === null || old === null || old.graph !== graph) return fit(READABLE);
    const anchor = anchorOf(old, { visible, layout }, now, size());
    if (anchor === null) return fit(READABLE);
    show({ ...now, x: now.x + anchor.x * now.scale, y: now.y + anchor.y * now.scale });
  }, [layout]);
  // The wheel of a listener of Preact is passive in some browsers, and would scroll the page.
  // biome-ignore lint/correctness/useExhaustiveDependencies: it reads references alone
  useEffect(() => {
    const element = svg.current;
    if (element === null) return;
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      const at = element.getBoundingClientRect();
      const lines = event.deltaMode === 1 ? 16 : 1;
      zoomAt(Math.exp(-event.deltaY * lines * 0.0015), event.clientX - at.left, event.clientY - at.top);
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  }, []);

  const drawing = useMemo(
    () => <Scene {...{ graph, folding, visible, layout, chosen, found }} />,
    [graph, folding, visible, layout, chosen, found],
  );
  const pan = (x: number, y: number) => {
    const now = view.current;
    if (now !== null) show({ ...now, x: now.x + x, y: now.y + y });
  };
  return (
    <div class="graph-canvas">
      <svg
        ref={svg}
        tabindex={0}
        role="img"
        aria-label={`Graph of ${plural(graph.nodes.length, "node")} and ${plural(graph.edges.length, "edge")}; the list beside it has all of them`}
        onPointerDown={(event) => {
          if (event.button !== 0) return;
          drag.current = { x: event.clientX, y: event.clientY, moved: false };
        }}
        onPointerMove={(event) => {
          const from = drag.current;
          if (from === null) return;
          const [x, y] = [event.clientX - from.x, event.clientY - from.y];
          if (!from.moved && Math.hypot(x, y) < 4) return;
          if (!from.moved) event.currentTarget.setPointerCapture(event.pointerId);
          pan(x, y);
          drag.current = { x: event.clientX, y: event.clientY, moved: true };
        }}
        onPointerUp={(event) => {
          const moved = drag.current?.moved ?? false;
          drag.current = null;
          if (moved) return;
          const at = (event.target as Element).closest<SVGGElement>("[data-item]")?.dataset.item;
          const item = at === undefined ? undefined : visible.items[Number(at)];
          if (item !== undefined) props.onItem(item);
        }}
        onPointerCancel={() => {
          drag.current = null;
        }}
        onKeyDown={(event) => {
          const by = { ArrowLeft: [PAN, 0], ArrowRight: [-PAN, 0], ArrowUp: [0, PAN], ArrowDown: [0, -PAN] }[
            event.key
          ];
          if (by === undefined) return;
          event.preventDefault();
          pan(...(by as [number, number]));
        }}
      >
        <defs>
          <marker
            id="graph-arrow"
            viewBox="0 0 8 8"
            refX="7"
            refY="4"
            markerWidth="7"
            markerHeight="7"
            orient="auto"
          >
            <path d="M0 0 8 4 0 8z" />
          </marker>
        </defs>
        <g ref={scene}>{drawing}</g>
      </svg>
      <div class="graph-zoom" role="group" aria-label="Zoom">
        <button
          type="button"
          class="button"
          aria-label="Zoom in"
          title="Zoom in (+)"
          onClick={() => zoom(STEP)}
        >
          +
        </button>
        <button
          type="button"
          class="button"
          aria-label="Zoom out"
          title="Zoom out (−)"
          onClick={() => zoom(1 / STEP)}
        >
          −
        </button>
        <button type="button" class="button" aria-label="Show all" title="Show all (0)" onClick={() => fit()}>
          <Icon name="reset" />
        </button>
      </div>
    </div>
  );
}

/** How far the item that was nearest to the middle has moved in the picture. */
function anchorOf(
  old: { visible: Visible; layout: Layout },
  now: { visible: Visible; layout: Layout },
  view: View,
  size: { width: number; height: number },
): { x: number; y: number } | null {
  const [x, y] = [(size.width / 2 - view.x) / view.scale, (size.height / 2 - view.y) / view.scale];
  const places = new Map(now.visible.items.map((item, at) => [item.key, at]));
  let best: { from: Placed; to: Placed; distance: number } | null = null;
  old.visible.items.forEach((item, at) => {
    const to = now.layout.items[places.get(item.key) ?? -1];
    const from = old.layout.items[at];
    if (to === undefined || from === undefined) return;
    const distance = Math.hypot(from.x - x, from.y - y);
    if (best === null || distance < best.distance) best = { from, to, distance };
  });
  const found = best as { from: Placed; to: Placed } | null;
  return found === null ? null : { x: found.from.x - found.to.x, y: found.from.y - found.to.y };
}

/** Edges, and nodes above them. */
function Scene({
  graph,
  folding,
  visible,
  layout,
  chosen,
  found,
}: Omit<CanvasProps, "onItem" | "handle">): JSX.Element {
  return (
    <>
      {layout.ways.map(({ from, to, points, count }) => (
        <path
          key={`${from} ${to}`}
          class={`graph-edge${from === chosen || to === chosen ? " near" : ""}`}
          d={pathOf(points)}
          stroke-width={Math.min(4, 1 + Math.log2(count) / 2)}
          marker-end="url(#graph-arrow)"
        />
      ))}
      {visible.items.map((item, at) => {
        const { x, y, width, height } = layout.items[at] as Placed;
        const node = item.node === null ? null : graph.nodes[item.node];
        const group = item.group === null ? null : folding.groups[item.group];
        const kind = [
          "graph-node",
          group !== null ? "group" : node?.type === "operation" ? "operation" : "tensor",
          node?.data.is_leaf === true ? "leaf" : "",
          at === chosen ? "chosen" : "",
          found.has(at) ? "found" : "",
        ].join(" ");
        return (
          <g key={item.key} class={kind} data-item={at} transform={`translate(${x} ${y})`}>
            <title>{group ? `${item.label}: ${plural(group.size, "node")}, folded` : item.label}</title>
            {group && (
              <rect
                class="back"
                x={-width / 2 + 4}
                y={-height / 2 + 4}
                width={width}
                height={height}
                rx={7}
              />
            )}
            <rect
              x={-width / 2}
              y={-height / 2}
              width={width}
              height={height}
              rx={group ? 7 : node?.type === "operation" ? height / 2 : 4}
            />
            <text y={group ? -2 : 4}>{shorten(item.label)}</text>
            {group && (
              <text class="count" y={13}>
                {formatCount(group.size)} nodes
              </text>
            )}
          </g>
        );
      })}
    </>
  );
}
