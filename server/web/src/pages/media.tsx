// Media: images, histograms and texts of the chosen runs at one step, side by side.
import type { JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { call, fetchBlob, type Query, type Value } from "../api";
import { useInSight } from "../charts/insight";
import { diffLines } from "../diff";
import { hasText } from "../find";
import { formatCount, formatNumber, plural } from "../format";
import { useFetch, useLive } from "../hooks";
import { writeJson } from "../json";
import { useKeys } from "../keys";
import { Dialog } from "../parts/dialog";
import { Icon } from "../parts/icons";
import { Link } from "../parts/link";
import { SearchField } from "../parts/search";
import { Empty, ErrorBox, Loading } from "../parts/states";
import { type Run, useDrawn, useRuns } from "../runs";
import { choice, escapeText, flag, optional, text, useParam, useSelection } from "../state";
import { cssColour, useDark } from "../theme";
import { fetchItems, field, type Item, inlineText, itemAt, stepsOf } from "./media/data";
import { type Histogram, histogramOf, rangeOf, rebin } from "./media/histogram";
import { NoRuns } from "./runs/empty";
import "./media.css";

const KINDS = ["image", "histogram", "text"] as const;
type Kind = (typeof KINDS)[number];
const TITLES: Record<Kind, string> = { image: "Images", histogram: "Histograms", text: "Texts" };
/** Runs side by side; more are a matter of selecting. */
const MOST_RUNS = 8;
const MOST_SERIES = 40;
const REFRESH_MS = 2_000;

const stepCodec = {
  read: (raw: string | null) =>
    raw === null || raw === "" || !Number.isFinite(Number(raw)) ? null : Number(raw),
  write: (value: number | null) => (value === null ? null : String(value)),
};
const useStep = () => useParam<number | null>("media.step", stepCodec);

export default function Media(): JSX.Element {
  const drawn = useDrawn();
  const { total } = useRuns();
  const [selection] = useSelection();
  const chosen = drawn.filter((run) => selection.includes(run.id));
  const runs = (chosen.length > 0 ? chosen : drawn).slice(0, MOST_RUNS);
  const ids = runs.map((run) => run.id);
  const query: Query = { id: { $in: ids } };
  const { data, error, again } = useFetch(ids.length === 0 ? null : writeJson(ids), (signal) =>
    call("fetch_fields", { query }, signal),
  );
  if (error !== null && data === null) return <ErrorBox error={error} again={again} />;
  if (total === 0) return <NoRuns />;
  if (ids.length === 0) {
    return (
      <Empty title="No run is drawn">
        <p>Open the eye of a run in the list on the left.</p>
      </Empty>
    );
  }
  if (data === null) return <Loading />;
  const series = data.series.filter(({ kind }) => (KINDS as readonly string[]).includes(kind));
  if (series.length === 0) {
    return (
      <Empty title="These runs have no media">
        <p>A script logs them with trial.log_image(name, pixels, step=…), log_histogram and log_text.</p>
        {data.series.length > 0 && (
          <p>
            They have <Link view="charts">charts</Link>.
          </p>
        )}
      </Empty>
    );
  }
  return <Board runs={runs} total={chosen.length > 0 ? chosen.length : drawn.length} series={series} />;
}

function Board(props: {
  runs: readonly Run[];
  total: number;
  series: readonly { kind: string; name: string }[];
}): JSX.Element {
  const { runs, series } = props;
  const kinds = KINDS.filter((kind) => series.some((one) => one.kind === kind));
  const [wantedKind, setKind] = useParam<Kind | "">("media.kind", choice(["", ...KINDS] as const, ""));
  const [only, setOnly] = useParam("media.name", optional);
  const [find, setFind] = useParam("media.find", text());
  const [flicker, setFlicker] = useParam("media.flicker", flag);
  const [step, setStep] = useStep();
  const [steps, setSteps] = useState<Record<string, number[]>>({});
  const named = only === null ? undefined : series.find(({ name }) => name === only);
  const kind =
    kinds.find((one) => one === wantedKind) ?? (named?.kind as Kind | undefined) ?? kinds[0] ?? "image";
  const names = series
    .filter((one) => one.kind === kind)
    .map(({ name }) => name)
    .filter((name) => (only === null || only === name) && hasText(name, find));
  const all = useMemo(() => {
    const ofKind = Object.entries(steps).filter(([key]) => key.startsWith(`${kind} `));
    return [...new Set(ofKind.flatMap(([, some]) => some))].sort((a, b) => a - b);
  }, [steps, kind]);
  const at =
    step === null
      ? all.length - 1
      : Math.max(
          0,
          all.findLastIndex((one) => one <= step),
        );
  const move = (by: number) => {
    const next = Math.max(0, Math.min(all.length - 1, at + by));
    // At the end it goes on with what comes.
    setStep(next === all.length - 1 ? null : (all[next] ?? null));
  };
  useKeys([
    { keys: "[", label: "One step back", group: "Media", run: () => move(-1) },
    { keys: "]", label: "One step on", group: "Media", run: () => move(1) },
  ]);
  return (
    <div class="media">
      <div class="toolbar" role="toolbar" aria-label="Media">
        <div class="kinds" role="group" aria-label="Kind">
          {kinds.map((one) => (
            <button
              key={one}
              type="button"
              class="button toggle"
              aria-pressed={one === kind}
              onClick={() => {
                setOnly(null);
                setKind(one);
              }}
            >
              {TITLES[one]}
            </button>
          ))}
        </div>
        {kind !== "histogram" && all.length > 0 && (
          <label class="step">
            step
            <input
              type="range"
              min={0}
              max={Math.max(0, all.length - 1)}
              value={at}
              aria-label="Step"
              aria-valuetext={String(all[at] ?? "")}
              onInput={(event) => {
                const place = Number(event.currentTarget.value);
                setStep(place === all.length - 1 ? null : (all[place] ?? null));
              }}
            />
            <output>{step === null ? `${all.at(-1) ?? ""} (newest)` : formatNumber(all[at] ?? step)}</output>
          </label>
        )}
        {kind === "image" && runs.length > 1 && (
          <button
            type="button"
            class="button toggle"
            aria-pressed={flicker}
            title="Show the runs one after the other in one place"
            onClick={() => setFlicker(!flicker)}
          >
            flicker
          </button>
        )}
        {only === null ? (
          <SearchField label="Find media by name" hint="Find" value={find} onChange={setFind} />
        ) : (
          <button type="button" class="button" onClick={() => setOnly(null)}>
            <Icon name="close" /> {only}
          </button>
        )}
        {props.total > runs.length && (
          <span class="hint">
            the first {runs.length} of {plural(props.total, "run")}; select others in the table
          </span>
        )}
      </div>
      {names.slice(0, MOST_SERIES).map((name) => (
        <Series
          key={`${kind} ${name}`}
          kind={kind}
          name={name}
          runs={runs}
          step={step}
          flicker={flicker}
          onSteps={(found) =>
            setSteps((before) => {
              const key = `${kind} ${name}`;
              return before[key]?.join() === found.join() ? before : { ...before, [key]: found };
            })
          }
          onOnly={() => setOnly(only === name ? null : name)}
        />
      ))}
      {names.length > MOST_SERIES && (
        <p class="hint">{formatCount(names.length - MOST_SERIES)} more: find them by their names above.</p>
      )}
    </div>
  );
}

interface Cell {
  run: Run;
  items: readonly Item[];
}

function Series(props: {
  kind: Kind;
  name: string;
  runs: readonly Run[];
  step: number | null;
  flicker: boolean;
  onSteps: (steps: number[]) => void;
  onOnly: () => void;
}): JSX.Element {
  const { kind, name, runs, step } = props;
  const row = useRef<HTMLElement>(null);
  const inSight = useInSight(row);
  const ids = runs.map((run) => run.id);
  const seen = useRef(false);
  seen.current ||= inSight;
  const { data, error, again } = useFetch(seen.current ? writeJson([kind, name, ids]) : null, (signal) =>
    Promise.all(
      ids.map((id) =>
        // A run that does not have the series is no failure of the others.
        fetchItems(id, kind, name, signal).catch((failure: Error) => {
          if (signal.aborted || !("status" in failure && failure.status === 404)) throw failure;
          return [] as Item[];
        }),
      ),
    ),
  );
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  useLive((change) => {
    if (!change.reset && !ids.some((id) => change.trials.has(id))) return;
    timer.current ??= setTimeout(() => {
      timer.current = null;
      again();
    }, REFRESH_MS);
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: only when the items change
  useEffect(() => {
    if (data !== null) props.onSteps(stepsOf(data));
  }, [data]);
  const cells: Cell[] = runs
    .map((run, at) => ({ run, items: data?.[at] ?? [] }))
    .filter(({ items }) => items.length > 0);
  return (
    <section ref={row} class="media-series" aria-label={name}>
      <h2>
        <button type="button" class="link-plain" onClick={props.onOnly}>
          {name}
        </button>
      </h2>
      {error !== null && data === null && <p class="fault">{error.message}</p>}
      <div class={`media-cells ${kind}`}>
        {kind === "image" && props.flicker && cells.length > 1 ? (
          <Flicker cells={cells} step={step} />
        ) : (
          cells.map((cell) => (
            <figure key={cell.run.id}>
              <Caption cell={cell} step={kind === "histogram" ? undefined : step} />
              {kind === "image" && (
                <ImageItem item={itemAt(cell.items, step)} label={`${name} of ${cell.run.name}`} />
              )}
              {kind === "text" && <TextItem items={cell.items} step={step} />}
              {kind === "histogram" && <Histograms items={cell.items} run={cell.run} name={name} />}
            </figure>
          ))
        )}
      </div>
    </section>
  );
}

function Caption({ cell, step }: { cell: Cell; step: number | null | undefined }): JSX.Element {
  const { run, items } = cell;
  const item = step === undefined ? null : itemAt(items, step);
  return (
    <figcaption>
      <i class="swatch" style={{ background: run.colour }} />
      <Link view="run" patch={{ trial: escapeText(run.id) }}>
        {run.name}
      </Link>
      {item !== null && <span class="hint">step {formatNumber(item.step)}</span>}
    </figcaption>
  );
}

/** The address of a blob in this page, while it is shown. */
function useBlobUrl(digest: string | null): { url: string | null; error: Error | null } {
  const { data, error } = useFetch(digest, (signal) => fetchBlob(digest as string, signal));
  const [url, setUrl] = useState<string | null>(null);
  useEffect(() => {
    if (data === null) return;
    const made = URL.createObjectURL(data);
    setUrl(made);
    return () => URL.revokeObjectURL(made);
  }, [data]);
  return { url, error };
}

function ImageItem({ item, label }: { item: Item | null; label: string }): JSX.Element | null {
  const value: Value = item?.value ?? null;
  const { url, error } = useBlobUrl(field(value, "digest"));
  const [large, setLarge] = useState(false);
  if (error !== null) return <p class="fault">{error.message}</p>;
  if (item === null) return null;
  const width = Number(field(value, "width")?.replace(/,/g, "") ?? 0);
  // Small ones show their pixels.
  const kind = width <= 256 ? "pixels" : "";
  return (
    <>
      <button type="button" class="picture" aria-label={`Enlarge ${label}`} onClick={() => setLarge(true)}>
        {url !== null && <img class={kind} src={url} alt={`${label} at step ${item.step}`} />}
      </button>
      {large && url !== null && (
        <Dialog title={`${label}, step ${item.step}`} class="large-picture" onClose={() => setLarge(false)}>
          <img class={kind} src={url} alt={`${label} at step ${item.step}`} />
        </Dialog>
      )}
    </>
  );
}

const FLICKER_MS = 700;

/** All runs in one place, one after the other. */
function Flicker({ cells, step }: { cells: readonly Cell[]; step: number | null }): JSX.Element {
  const [at, setAt] = useState(0);
  const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  useEffect(() => {
    if (still) return;
    const timer = setInterval(() => setAt((before) => before + 1), FLICKER_MS);
    return () => clearInterval(timer);
  }, [still]);
  const shown = at % cells.length;
  return (
    <div class="flicker">
      {cells.map((cell, place) => (
        <figure key={cell.run.id} class={place === shown ? "" : "away"}>
          <Caption cell={cell} step={step} />
          <ImageItem item={itemAt(cell.items, step)} label={cell.run.name} />
        </figure>
      ))}
      <button type="button" class="button" onClick={() => setAt(at + 1)}>
        Next run
      </button>
    </div>
  );
}

/** The text of an item: short ones are in their document, long ones in a blob. */
function useText(item: Item | null): string | null {
  const value: Value = item?.value ?? null;
  const digest = field(value, "digest");
  const { data } = useFetch(digest, async (signal) => (await fetchBlob(digest as string, signal)).text());
  if (item === null) return null;
  return inlineText(value) ?? data;
}

function TextItem({ items, step }: { items: readonly Item[]; step: number | null }): JSX.Element {
  const [compared, setCompared] = useState(false);
  const item = itemAt(items, step);
  const before = item === null ? null : (items[items.indexOf(item) - 1] ?? null);
  const now = useText(item);
  const old = useText(compared ? before : null);
  return (
    <>
      {before !== null && (
        <label class="hint check">
          <input
            type="checkbox"
            checked={compared}
            onChange={(event) => setCompared(event.currentTarget.checked)}
          />
          differences to step {formatNumber(before.step)}
        </label>
      )}
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it is scrolled by the keyboard */}
      <pre class="text-item" tabIndex={0}>
        {compared && old !== null && now !== null
          ? diffLines(old, now).map((line, at) => (
              <span key={`${at} ${line.kind}`} class={`diff ${line.kind}`}>
                {{ same: "  ", added: "+ ", removed: "− " }[line.kind]}
                {line.text}
                {"\n"}
              </span>
            ))
          : (now ?? "")}
      </pre>
    </>
  );
}

const BUCKETS = 48;
const MOST_STEPS = 240;

/** Histograms over steps: as a heat map, or one behind the other. */
function Histograms(props: { items: readonly Item[]; run: Run; name: string }): JSX.Element {
  const { items, run } = props;
  const [view, setView] = useParam<"heat" | "ridge">(
    "media.hist",
    choice(["heat", "ridge"] as const, "heat"),
  );
  const canvas = useRef<HTMLCanvasElement>(null);
  const [reading, setReading] = useState<string | null>(null);
  const dark = useDark();
  const found = useMemo(() => {
    const every = Math.ceil(items.length / MOST_STEPS);
    return items
      .filter((_, at) => at % every === 0 || at === items.length - 1)
      .flatMap((item) => {
        const histogram = histogramOf(item.value);
        return histogram === null ? [] : [{ step: item.step, histogram }];
      });
  }, [items]);
  const range = useMemo(() => rangeOf(found.map(({ histogram }) => histogram)), [found]);
  const rows = useMemo(() => found.map(({ histogram }) => rebin(histogram, range, BUCKETS)), [found, range]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the theme's colours are read while drawing
  useEffect(() => {
    if (canvas.current !== null) (view === "heat" ? drawHeat : drawRidges)(canvas.current, rows, run.colour);
  }, [rows, run.colour, view, dark]);
  const nan = found.filter(({ histogram }) => histogram.nan + histogram.infinite > 0);
  const first = found[0];
  const last = found.at(-1);
  return (
    <>
      <div class="hist">
        <div class="hist-range hint">
          <span>{formatNumber(range.high, 3)}</span>
          <span>{formatNumber(range.low, 3)}</span>
        </div>
        <canvas
          ref={canvas}
          width={720}
          height={360}
          role="img"
          aria-label={`${props.name} of ${run.name}: ${plural(found.length, "histogram")} from step ${first?.step} to ${last?.step}`}
          onMouseMove={(event) => setReading(readingOf(event, found, rows, range, view))}
          onMouseLeave={() => setReading(null)}
        />
        <div class="hist-steps hint">
          <span>{first === undefined ? "" : formatNumber(first.step)}</span>
          <span>{reading ?? "step"}</span>
          <span>{last === undefined ? "" : formatNumber(last.step)}</span>
        </div>
      </div>
      {nan.length > 0 && (
        <p class="fault">
          Not finite:{" "}
          {nan
            .slice(-4)
            .map(({ step, histogram }) => `${notFinite(histogram)} at step ${formatNumber(step)}`)
            .join(", ")}
          {nan.length > 4 && ` and at ${formatCount(nan.length - 4)} steps before`}
        </p>
      )}
      <button type="button" class="link" onClick={() => setView(view === "heat" ? "ridge" : "heat")}>
        {view === "heat" ? "As ridges" : "As a heat map"}
      </button>
    </>
  );
}

function notFinite({ nan, infinite }: Histogram): string {
  const parts = [nan > 0 && `${formatCount(nan)} NaN`, infinite > 0 && `${formatCount(infinite)} infinite`];
  return parts.filter(Boolean).join(" and ");
}

function readingOf(
  event: MouseEvent,
  found: readonly { step: number; histogram: Histogram }[],
  rows: readonly Float64Array[],
  range: { low: number; high: number },
  view: "heat" | "ridge",
): string | null {
  if (view !== "heat" || !(event.currentTarget instanceof HTMLCanvasElement)) return null;
  const box = event.currentTarget.getBoundingClientRect();
  const at = Math.min(found.length - 1, Math.floor(((event.clientX - box.left) / box.width) * found.length));
  const bucket = Math.min(BUCKETS - 1, Math.floor((1 - (event.clientY - box.top) / box.height) * BUCKETS));
  const width = (range.high - range.low) / BUCKETS;
  const count = rows[at]?.[bucket];
  if (count === undefined) return null;
  const low = range.low + bucket * width;
  return `step ${found[at]?.step}: ${formatNumber(low, 3)} … ${formatNumber(low + width, 3)}: ${formatCount(count)}`;
}

function drawHeat(canvas: HTMLCanvasElement, rows: readonly Float64Array[], colour: string): void {
  const context = canvas.getContext("2d");
  if (context === null) return;
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  context.fillStyle = colour;
  const wide = width / Math.max(1, rows.length);
  const high = height / BUCKETS;
  rows.forEach((row, at) => {
    // Each step by itself, so that a step with few values is seen, too.
    const most = Math.max(...row, 1e-12);
    row.forEach((count, bucket) => {
      if (count <= 0) return;
      context.globalAlpha = 0.06 + 0.94 * Math.sqrt(count / most);
      context.fillRect(at * wide, height - (bucket + 1) * high, Math.ceil(wide), Math.ceil(high));
    });
  });
  context.globalAlpha = 1;
}

function drawRidges(canvas: HTMLCanvasElement, rows: readonly Float64Array[], colour: string): void {
  const context = canvas.getContext("2d");
  if (context === null) return;
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  const every = Math.ceil(rows.length / 40);
  const some = rows.filter((_, at) => at % every === 0 || at === rows.length - 1);
  const rise = height / 4;
  const back = cssColour("--back");
  some.forEach((row, at) => {
    const foot = rise + ((height - rise - 4) * (at + 1)) / some.length;
    const most = Math.max(...row, 1e-12);
    context.beginPath();
    context.moveTo(0, foot);
    row.forEach((count, bucket) => {
      context.lineTo(((bucket + 0.5) * width) / BUCKETS, foot - (rise * count) / most);
    });
    context.lineTo(width, foot);
    context.fillStyle = back;
    context.globalAlpha = 0.85;
    context.fill();
    context.globalAlpha = 0.35 + (0.65 * (at + 1)) / some.length;
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.stroke();
  });
  context.globalAlpha = 1;
}
