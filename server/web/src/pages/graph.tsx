// Graph: the computation graph of a run.
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { call, fetchBlob, type Trial, type TrialId } from "../api";
import { formatCount, formatNumber, formatValue, plural } from "../format";
import { useFetch, useLive } from "../hooks";
import { parseJson, writeJson } from "../json";
import { useKeys } from "../keys";
import { Icon } from "../parts/icons";
import { Link } from "../parts/link";
import { Empty, ErrorBox, Loading } from "../parts/states";
import { notify } from "../parts/toasts";
import { runOfTrial, useDrawn, useRuns } from "../runs";
import { type Codec, optional, optionalList, text, useParam, useSelection, useTrial } from "../state";
import { Canvas, type CanvasHandle } from "./graph/canvas";
import {
  type Folding,
  foldingOf,
  groupsOf,
  type Item,
  openAtFirst,
  type Visible,
  visibleOf,
} from "./graph/fold";
import { layOut } from "./graph/layout";
import { findNodes, type Graph, nameOf, readGraph } from "./graph/model";
import { fetchItems, field, itemAt } from "./media/data";
import { NoRuns } from "./runs/empty";
import "./graph.css";

/** Runs among which one with a graph is looked for. */
const MOST_RUNS = 50;
/** Items that are laid out at once. */
const MOST_SEEN = 1_200;
const LISTED = 200;
const REFRESH_MS = 2_000;

const stepCodec: Codec<number | null> = {
  read: (raw) => (raw === null || raw === "" || !Number.isFinite(Number(raw)) ? null : Number(raw)),
  write: (value) => (value === null ? null : String(value)),
};

export default function GraphPage(): JSX.Element {
  const [trial] = useTrial();
  const [selection] = useSelection();
  const drawn = useDrawn();
  const { total } = useRuns();
  const listed = [...new Set([...selection, ...drawn.map((run) => run.id)])].slice(0, MOST_RUNS);
  const ids = trial === null || listed.includes(trial) ? listed : [trial, ...listed];
  const { data, error, again } = useFetch(ids.length === 0 ? null : writeJson(ids), (signal) =>
    call("fetch_trials", { query: { id: { $in: ids } } }, signal),
  );
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  const [round, setRound] = useState(0);
  useLive((change) => {
    if (!change.reset && !ids.some((id) => change.trials.has(id))) return;
    timer.current ??= setTimeout(() => {
      timer.current = null;
      again();
      setRound((before) => before + 1);
    }, REFRESH_MS);
  });
  if (error !== null && data === null) return <ErrorBox error={error} again={again} />;
  if (ids.length === 0) {
    if (total === 0) return <NoRuns />;
    return total === null ? <Loading /> : <NoGraph what="No run is drawn" />;
  }
  if (data === null) return <Loading />;
  const byId = new Map(data.map((one) => [one.id, one]));
  const having = ids
    .map((id) => byId.get(id))
    .filter((one) => one !== undefined)
    .filter((one) => graphsOf(one).length > 0);
  const first = having.find((one) => one.id === trial) ?? having[0];
  if (first === undefined) {
    return <NoGraph what={ids.length === 1 ? "This run has no graph" : "These runs have no graph"} />;
  }
  const asked = trial === null ? undefined : byId.get(trial);
  const without = asked !== undefined && asked.id !== first.id ? runOfTrial(asked).name : null;
  return <Chosen key={first.id} trial={first} others={having} without={without} round={round} />;
}

function NoGraph({ what }: { what: string }): JSX.Element {
  return (
    <Empty title={what}>
      <p>
        A script stores one with Tracker: tracker.save_comp_graph(loss) walks the computation of a tensor.
        Runs are chosen in the list on the left, or in the <Link view="runs">table</Link>.
      </p>
    </Empty>
  );
}

function graphsOf(trial: Trial): string[] {
  const found = trial.media.graph;
  return found !== null && typeof found === "object" && !Array.isArray(found) ? Object.keys(found) : [];
}

function Chosen(props: {
  trial: Trial;
  others: readonly Trial[];
  without: string | null;
  round: number;
}): JSX.Element {
  const { trial } = props;
  const names = graphsOf(trial);
  const [, setTrial] = useTrial();
  const [wanted, setWanted] = useParam("graph.name", optional);
  const [step, setStep] = useParam("graph.step", stepCodec);
  const name = names.find((one) => one === wanted) ?? (names[0] as string);
  const { data: items, error } = useFetch(writeJson([trial.id, name, props.round]), (signal) =>
    fetchItems(trial.id, "graph", name, signal),
  );
  const item = itemAt(items ?? [], step);
  const digest = field(item?.value ?? null, "digest");
  const graph = useFetch(digest, async (signal) => {
    const content = await (await fetchBlob(digest as string, signal)).text();
    const found = readGraph(parseJson(content));
    return { digest, graph: found, folding: foldingOf(found) };
  });
  const controls = (
    <>
      {props.others.length > 1 ? (
        <label>
          run
          <select value={trial.id} onChange={(event) => setTrial(event.currentTarget.value)}>
            {props.others.map((one) => (
              <option key={one.id} value={one.id}>
                {runOfTrial(one).name}
              </option>
            ))}
          </select>
        </label>
      ) : (
        <RunName trial={trial} />
      )}
      {names.length > 1 && (
        <label>
          graph
          <select value={name} onChange={(event) => setWanted(event.currentTarget.value)}>
            {names.map((one) => (
              <option key={one} value={one}>
                {one}
              </option>
            ))}
          </select>
        </label>
      )}
      {(items?.length ?? 0) > 1 && (
        <label>
          step
          <select
            value={step === null ? "" : String(item?.step ?? "")}
            onChange={(event) =>
              setStep(event.currentTarget.value === "" ? null : Number(event.currentTarget.value))
            }
          >
            <option value="">newest ({formatNumber(items?.at(-1)?.step ?? 0)})</option>
            {(items ?? []).map((one) => (
              <option key={one.step} value={one.step}>
                {formatNumber(one.step)}
              </option>
            ))}
          </select>
        </label>
      )}
      {props.without !== null && <span class="hint">{props.without} has no graph.</span>}
    </>
  );
  const fault = error ?? graph.error;
  if (graph.data !== null && graph.data.digest === digest) {
    return <Drawing key={digest} {...graph.data} controls={controls} />;
  }
  return (
    <div class="graph-page">
      <div class="toolbar" role="toolbar" aria-label="Graph">
        {controls}
      </div>
      {fault === null ? <Loading /> : <ErrorBox error={fault} again={graph.again} />}
    </div>
  );
}

function RunName({ trial }: { trial: Trial }): JSX.Element {
  const run = runOfTrial(trial);
  return (
    <span class="graph-run">
      <i class="swatch" style={{ background: run.colour }} />
      <Link view="run" patch={{ trial: run.id as TrialId }} title={run.name}>
        {run.name}
      </Link>
    </span>
  );
}

function Drawing(props: { graph: Graph; folding: Folding; controls: JSX.Element }): JSX.Element {
  const { graph, folding } = props;
  const [opened, setOpened] = useParam("graph.open", optionalList);
  const [chosenId, setChosenId] = useParam("graph.node", optional);
  const [find, setFind] = useParam("graph.find", text());
  const handle = useRef<CanvasHandle | null>(null);
  const atFirst = useMemo(() => openAtFirst(graph, folding), [graph, folding]);
  const open = useMemo(() => (opened === null ? atFirst : new Set(opened)), [opened, atFirst]);
  const visible = useMemo(() => visibleOf(graph, folding, open), [graph, folding, open]);
  const layout = useMemo(() => layOut(visible), [visible]);
  const chosen = chosenId === null ? undefined : graph.placeOf.get(chosenId);
  const chosenItem = chosen === undefined ? null : (visible.itemOf[chosen] ?? null);
  const matches = useMemo(() => findNodes(graph, find), [graph, find]);
  const found = useMemo(
    () => new Set(matches.map((place) => visible.itemOf[place] as number)),
    [matches, visible],
  );
  /** The node that comes into the middle when the picture is there. */
  const [toCentre, setToCentre] = useState<number | null>(chosen ?? null);
  useEffect(() => {
    if (toCentre === null) return;
    handle.current?.centre(visible.itemOf[toCentre] as number);
    setToCentre(null);
  }, [toCentre, visible]);
  const setOpen = (next: ReadonlySet<string>): boolean => {
    if (next.size > open.size && visibleOf(graph, folding, next).items.length > MOST_SEEN) {
      notify(`More than ${formatCount(MOST_SEEN)} nodes would be drawn: fold others first.`);
      return false;
    }
    setOpened([...next]);
    return true;
  };
  const choose = (place: number) => {
    const inside = groupsOf(folding, place).map((at) => folding.groups[at]?.id as string);
    const isHidden = visible.items[visible.itemOf[place] as number]?.node === null;
    if (isHidden && !setOpen(new Set([...open, ...inside]))) return;
    setChosenId(graph.nodes[place]?.id ?? null);
    setToCentre(place);
  };
  const onItem = (item: Item) => {
    if (item.group !== null) setOpen(new Set([...open, folding.groups[item.group]?.id as string]));
    else if (item.node !== null) setChosenId(graph.nodes[item.node]?.id ?? null);
  };
  const next = () => {
    const at = matches.indexOf(chosen ?? -1);
    const place = matches[(at + 1) % Math.max(1, matches.length)];
    if (place !== undefined) choose(place);
  };
  useKeys(
    [
      { keys: "+", label: "Zoom in", run: () => handle.current?.zoom(1.3) },
      { keys: "=", label: "Zoom in", run: () => handle.current?.zoom(1.3) },
      { keys: "-", label: "Zoom out", run: () => handle.current?.zoom(1 / 1.3) },
      { keys: "0", label: "Show all of the graph", run: () => handle.current?.fit() },
      { keys: "Escape", label: "Choose no node", run: () => setChosenId(null) },
    ].map((key) => ({ ...key, group: "Graph" })),
  );
  const isFolded = folding.groups.length > 0;
  return (
    <div class="graph-page">
      <div class="toolbar" role="toolbar" aria-label="Graph">
        {props.controls}
        <input
          type="search"
          aria-label="Find a node by label, id or type"
          placeholder="Find a node; Enter goes to the next"
          value={find}
          onInput={(event) => setFind(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter") next();
          }}
        />
        {isFolded && (
          <button type="button" class="button" onClick={() => setOpened([])}>
            Fold all
          </button>
        )}
        <span class="grow" />
        <span class="hint" role="status">
          {find.trim() !== "" && `${plural(matches.length, "node")} found · `}
          {plural(graph.nodes.length, "node")}
          {visible.items.length < graph.nodes.length && `, drawn as ${formatCount(visible.items.length)}`}
          {graph.loose > 0 && ` · ${plural(graph.loose, "edge")} to nowhere left out`}
        </span>
      </div>
      {graph.nodes.length === 0 ? (
        <Empty title="This graph has no node" />
      ) : (
        <div class="graph-body">
          <Canvas
            graph={graph}
            folding={folding}
            visible={visible}
            layout={layout}
            chosen={chosenItem}
            found={found}
            onItem={onItem}
            handle={handle}
          />
          <aside class="graph-side" aria-label="Nodes">
            {chosen !== undefined && (
              <NodePanel
                graph={graph}
                place={chosen}
                choose={choose}
                close={() => setChosenId(null)}
                groups={groupsOf(folding, chosen).flatMap((at) => {
                  const group = folding.groups[at];
                  return group === undefined || group.size < 2
                    ? []
                    : [{ label: group.label, fold: () => setOpen(without(open, group.id)) }];
                })}
              />
            )}
            <NodeList
              graph={graph}
              folding={folding}
              visible={visible}
              matches={find.trim() === "" ? null : matches}
              chosen={chosen ?? null}
              choose={choose}
              onItem={onItem}
            />
          </aside>
        </div>
      )}
    </div>
  );
}

function without(some: ReadonlySet<string>, one: string): ReadonlySet<string> {
  const next = new Set(some);
  next.delete(one);
  return next;
}

const KNOWN = new Set(["id", "type", "label", "shape", "comp_grad", "is_leaf"]);

function NodePanel(props: {
  graph: Graph;
  place: number;
  choose: (place: number) => void;
  close: () => void;
  groups: readonly { label: string; fold: () => void }[];
}): JSX.Element {
  const { graph, place } = props;
  const node = graph.nodes[place] as Graph["nodes"][number];
  const { shape, comp_grad, is_leaf } = node.data;
  const facts: [string, string][] = [
    ["type", node.type],
    ["id", node.id],
    ...(Array.isArray(shape)
      ? [["shape", shape.length === 0 ? "scalar" : shape.join(" × ")] as [string, string]]
      : []),
    ...(comp_grad === undefined
      ? []
      : [["gradient", comp_grad === true ? "computed" : "none"] as [string, string]]),
    ...(is_leaf === undefined ? [] : [["leaf", is_leaf === true ? "yes" : "no"] as [string, string]]),
    ...Object.entries(node.data)
      .filter(([name]) => !KNOWN.has(name))
      .map(([name, value]): [string, string] => [name, formatValue(value)]),
  ];
  return (
    <section class="graph-node-panel" aria-label="Chosen node">
      <h2>
        <span>{nameOf(node)}</span>
        <button type="button" class="quiet small" aria-label="Choose no node" onClick={props.close}>
          <Icon name="close" />
        </button>
      </h2>
      <dl class="facts">
        {facts.flatMap(([name, value]) => [<dt key={`${name} is`}>{name}</dt>, <dd key={name}>{value}</dd>])}
      </dl>
      <Neighbours title="From" graph={graph} places={graph.before[place] ?? []} choose={props.choose} />
      <Neighbours title="To" graph={graph} places={graph.after[place] ?? []} choose={props.choose} />
      {props.groups.length > 0 && (
        <p class="graph-groups">
          in{" "}
          {props.groups.map(({ label, fold }) => (
            <button key={label} type="button" class="button" title="Fold it" onClick={fold}>
              {label}
            </button>
          ))}
        </p>
      )}
    </section>
  );
}

function Neighbours(props: {
  title: string;
  graph: Graph;
  places: readonly number[];
  choose: (place: number) => void;
}): JSX.Element | null {
  const { places, graph } = props;
  if (places.length === 0) return null;
  return (
    <>
      <h2>
        {props.title} <span class="hint">{formatCount(places.length)}</span>
      </h2>
      <ul class="graph-list">
        {places.slice(0, LISTED).map((place) => (
          <NodeButton key={place} graph={graph} place={place} isChosen={false} choose={props.choose} />
        ))}
      </ul>
    </>
  );
}

function NodeButton(props: {
  graph: Graph;
  place: number;
  isChosen: boolean;
  choose: (place: number) => void;
}): JSX.Element {
  const node = props.graph.nodes[props.place] as Graph["nodes"][number];
  return (
    <li>
      <button
        type="button"
        class="item"
        aria-current={props.isChosen ? "true" : undefined}
        onClick={() => props.choose(props.place)}
      >
        <i class={`graph-mark ${node.type === "operation" ? "operation" : "tensor"}`} />
        <span>{nameOf(node)}</span>
        <span class="hint">{node.label === "" ? node.id : node.type}</span>
      </button>
    </li>
  );
}

/** Nodes by their names: those found, else what is drawn. */
function NodeList(props: {
  graph: Graph;
  folding: Folding;
  visible: Visible;
  matches: readonly number[] | null;
  chosen: number | null;
  choose: (place: number) => void;
  onItem: (item: Item) => void;
}): JSX.Element {
  const { graph, visible, matches } = props;
  const count = matches === null ? visible.items.length : matches.length;
  return (
    <section aria-label={matches === null ? "Drawn nodes" : "Found nodes"}>
      <h2>
        {matches === null ? "Drawn" : "Found"} <span class="hint">{formatCount(count)}</span>
      </h2>
      <ul class="graph-list">
        {matches === null
          ? visible.items.slice(0, LISTED).map((item) =>
              item.node !== null ? (
                <NodeButton
                  key={item.key}
                  graph={graph}
                  place={item.node}
                  isChosen={item.node === props.chosen}
                  choose={props.choose}
                />
              ) : (
                <li key={item.key}>
                  <button
                    type="button"
                    class="item"
                    title="Open this group"
                    onClick={() => props.onItem(item)}
                  >
                    <Icon name="plus" />
                    <span>{item.label}</span>
                    <span class="hint">
                      {plural(props.folding.groups[item.group as number]?.size ?? 0, "node")}
                    </span>
                  </button>
                </li>
              ),
            )
          : matches
              .slice(0, LISTED)
              .map((place) => (
                <NodeButton
                  key={place}
                  graph={graph}
                  place={place}
                  isChosen={place === props.chosen}
                  choose={props.choose}
                />
              ))}
      </ul>
      {count > LISTED && (
        <p class="hint">and {formatCount(count - LISTED)} more: find them by their names above.</p>
      )}
    </section>
  );
}
