import assert from "node:assert/strict";
import { test } from "node:test";
import type { Curve } from "../src/charts/curve";
import { merge, mergedOf, summarise } from "../src/charts/groups";
import { shortTexts, xTexts, xTicks } from "../src/charts/labels";
import { happeningsOf, marksOf } from "../src/charts/marks";
import { chartsOf, faultOf, labelOf, matching, partsOf } from "../src/charts/names";
import { paint, svgPen } from "../src/charts/paint";
import { csvField, csvOfCurves, svgOf } from "../src/charts/save";
import { rangeOfX, rangeOfY, ticks, timeTicks } from "../src/charts/scale";
import { owns, turned } from "../src/pages/charts/settings";

function curveOf(values: number[], more: Partial<Curve> = {}): Curve {
  return {
    key: "a",
    owner: "a",
    label: "run",
    note: "",
    colour: "#123456",
    dash: [],
    line: values.map((y, x) => ({ x, y })),
    raw: null,
    band: null,
    odd: [],
    columns: null,
    faint: false,
    ...more,
  };
}

const metric = (name: string) => ({ kind: "metric", name });

test("series of one metric in several contexts are one chart", () => {
  const [chart, ...others] = chartsOf([metric('loss{split="val"}'), metric("loss")]);
  assert.deepEqual(chart?.names, ["loss", 'loss{split="val"}']);
  assert.equal(others.length, 0);
  assert.equal(chart && labelOf('loss{split="val"}', chart), "split val");
});

test("charts stand by the prefix of their names, the system's and timers last", () => {
  const series = [
    metric('cpu{source="system"}'),
    metric("train/loss"),
    { kind: "chrono", name: "epoch" },
    metric("loss10"),
    metric("loss9"),
    { kind: "image", name: "digits" },
  ];
  assert.deepEqual(
    chartsOf(series).map((chart) => [chart.section, chart.title]),
    [
      ["metrics", "loss9"],
      ["metrics", "loss10"],
      ["train", "train/loss"],
      ["system", "cpu"],
      ["timers", "epoch"],
    ],
  );
});

test("a name with braces in the middle has no context", () => {
  assert.deepEqual(partsOf("a{b}c"), { base: "a{b}c", context: "" });
});

test("charts are found by a regular expression, and a wrong one is taken as text", () => {
  const charts = chartsOf([metric("train/loss"), metric("val/loss"), metric("a(b")]);
  assert.deepEqual(
    matching(charts, "^VAL/").map((chart) => chart.title),
    ["val/loss"],
  );
  assert.deepEqual(
    matching(charts, "a\\(").map((chart) => chart.title),
    ["a(b"],
  );
});

test("of a wrong regular expression it is said what is wrong, and it selects nothing", () => {
  assert.equal(faultOf("^train/|a\\("), null);
  assert.equal(faultOf("a("), "Unterminated group");
  assert.equal(faultOf("*"), "Nothing to repeat");
  assert.equal(matching(chartsOf([metric("a(b"), metric("c")]), "a(").length, 2);
});

test("the range of y ignores what is not finite, and what is out of sight", () => {
  const range = rangeOfY([curveOf([1, Number.NaN, 2, 1000])], { low: 0, high: 2 }, false, false);
  assert.ok(range.low < 1 && range.low > 0.8 && range.high > 2 && range.high < 2.2);
});

test("a constant is in the middle of its range", () => {
  const { low, high } = rangeOfY([curveOf([5, 5])], { low: 0, high: 9 }, false, false);
  assert.ok(low < 5 && high > 5 && Math.abs((low + high) / 2 - 5) < 1e-9);
});

test("outliers are clipped and counted", () => {
  const values = Array.from({ length: 200 }, (_, at) => at % 10);
  values[100] = 1e6;
  const range = rangeOfY([curveOf(values)], { low: 0, high: 200 }, false, true);
  assert.ok(range.high < 20);
  assert.equal(range.above, 1);
});

test("a chosen range of y is exact, and what lies outside of it is counted", () => {
  const curves = [curveOf([-5, 1, 2, 3, 40, 50, Number.NaN])];
  const [x, chosen] = [
    { low: 0, high: 9 },
    { low: 0, high: 4 },
  ];
  assert.deepEqual(rangeOfY(curves, x, false, true, chosen), {
    ...chosen,
    above: 2,
    below: 1,
    notPositive: 0,
  });
  assert.ok(rangeOfY(curves, x, true, false, chosen).low > 0, "0 has no place on a logarithmic axis");
});

test("a logarithmic axis counts what it has no place for", () => {
  const range = rangeOfY([curveOf([-1, 0, 1, 100])], { low: 0, high: 9 }, true, false);
  assert.equal(range.notPositive, 2);
  assert.ok(range.low > 0 && range.low < 1 && range.high > 100);
});

test("the range of x of nothing and of one point is not empty", () => {
  for (const curves of [[], [curveOf([1])]]) {
    const { low, high } = rangeOfX(curves, false);
    assert.ok(low < high);
  }
});

test("ticks are round", () => {
  assert.deepEqual(ticks({ low: 0, high: 1 }, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(ticks({ low: 0.1, high: 1000 }, 5, true), [0.1, 1, 10, 100, 1000]);
  assert.deepEqual(timeTicks({ low: 0, high: 7200 }, 4, false), [0, 1800, 3600, 5400, 7200]);
  assert.ok(ticks({ low: 1e-300, high: 1e300 }, 5, true).length < 20);
});

test("steps have whole numbers beside them", () => {
  assert.ok(xTicks("step", { low: 0, high: 7 }, 20, false).every(Number.isInteger));
});

test("moments and durations shorter than a second differ in their texts", () => {
  const range = { low: 1_796_051_031.001, high: 1_796_051_031.0044 };
  const places = xTicks("time", range, 4, false);
  const texts = xTexts("time", places);
  assert.equal(new Set(texts).size, places.length);
  assert.match(texts[0] ?? "", /^\d\d\.\d{3}$/);
  assert.deepEqual(xTexts("relative", [0.001, 0.002]), ["0.001 s", "0.002 s"]);
  assert.deepEqual(xTexts("relative", [0, 60, 120]), ["0 s", "1 m", "2 m"]);
});

test("the number of a point is whole", () => {
  assert.deepEqual(xTicks("ordinal", { low: -0.5, high: 0.5 }, 5, false), [0]);
  assert.ok(xTicks("step", { low: 0, high: 0.5 }, 5, false).length > 1, "a step may be a fraction");
});

test("large numbers are short", () => {
  assert.deepEqual(shortTexts([0, 500_000, 1_000_000]), ["0", "0.5M", "1M"]);
  assert.deepEqual(shortTexts([0, 5_000_000]), ["0", "5M"]);
  assert.deepEqual(xTexts("relative", [0, 60, 3600]), ["0 s", "1 m", "1 h"]);
});

test("ticks that differ in their last digits have texts of their own", () => {
  assert.equal(new Set(shortTexts([1e9 + 0.01, 1e9 + 0.02, 1e9 + 0.03])).size, 3);
  assert.deepEqual(shortTexts([1e-3, 1, 1e3, 1e6]), ["0.001", "1", "1000", "1M"]);
  assert.deepEqual(shortTexts([0, 1e301, 2e301]), ["0", "1e301", "2e301"]);
  assert.deepEqual(shortTexts([0, 1e-299, 2e-299]), ["0", "1e−299", "2e−299"]);
});

test("a group that the server has summed up has its middle, its band and its runs", () => {
  const numbers = (...values: number[]) => Float64Array.from(values);
  const group = {
    ...{ by: ["a"], axis: "step" as const, series: 4, left_out: 0, faults: 0, odd: [] },
    ...{ x: numbers(0, 1), runs: numbers(4, 1), count_of: numbers(8, 2) },
    ...{
      mean: numbers(2, 4),
      median: numbers(1, 4),
      sd: numbers(1, 0),
      min: numbers(-9, 3),
      max: numbers(9, 5),
    },
  };
  const of = (middle: "mean" | "median", spread: "minmax" | "sd" | "se" | "none", smoothing = 0) => {
    const merged = mergedOf(group, middle, spread, smoothing);
    return [merged.middle, merged.low, merged.high];
  };
  assert.deepEqual(mergedOf(group, "mean", "none", 0).runs, [4, 1]);
  assert.deepEqual(of("mean", "minmax"), [
    [2, 4],
    [-9, 3],
    [9, 5],
  ]);
  assert.deepEqual(of("median", "sd"), [
    [1, 4],
    [0, 4],
    [2, 4],
  ]);
  assert.deepEqual(of("mean", "se"), [
    [2, 4],
    [1.5, 4],
    [2.5, 4],
  ]);
  // Two points of each run in a column weigh as two, and a spike stays in the band however smooth the line is.
  const [middle, , high] = of("mean", "minmax", 0.5);
  const past = 0.25;
  const weights = past * (1 - past) + (1 - past);
  assert.deepEqual(middle, [2, (past * 2 * (1 - past) + (1 - past) * 4) / weights]);
  assert.deepEqual(high, [9, 5]);
});

test("a merged line has no value behind the end of the runs that take part", () => {
  const lines = [
    [
      { x: 0, y: 0 },
      { x: 10, y: 10 },
    ],
    [
      { x: 0, y: 10 },
      { x: 5, y: 10 },
    ],
  ];
  const { x, middle, low, high, runs } = merge(lines, "mean", "minmax");
  assert.deepEqual(x, [0, 5, 10]);
  assert.deepEqual(middle, [5, 7.5, 10]);
  assert.deepEqual(
    [low, high],
    [
      [0, 5, 10],
      [10, 10, 10],
    ],
  );
  assert.deepEqual(runs, [2, 2, 1]);
});

test("the spread of a group is that of a sample", () => {
  assert.deepEqual(summarise([1, 3], "mean", "sd"), { centre: 2, low: 2 - Math.SQRT2, high: 2 + Math.SQRT2 });
  const { low, high } = summarise([1, 3], "mean", "se");
  assert.ok(Math.abs(low - 1) < 1e-12 && Math.abs(high - 3) < 1e-12);
  assert.deepEqual(summarise([7], "median", "sd"), { centre: 7, low: 7, high: 7 });
  assert.equal(summarise([1, 2, 100], "median", "none").centre, 2);
});

test("a band of 95 % confidence is wider for few runs, as Student's t says", () => {
  const halfOf = (numbers: number[]) =>
    summarise(numbers, "mean", "ci").high - summarise(numbers, "mean", "ci").centre;
  // Quantiles from a table, times the standard error.
  assert.ok(Math.abs(halfOf([0, 2]) - 12.706) < 1e-3);
  assert.ok(Math.abs(halfOf([1, 2, 3]) - 4.3027 / Math.sqrt(3)) < 1e-3);
  const ten = Array.from({ length: 11 }, (_, at) => at);
  assert.ok(Math.abs(halfOf(ten) - 2.2281) < 5e-3, "sd and root of 11 are one here");
  assert.equal(halfOf([7]), 0);
});

const picture = {
  marks: [],
  highlighted: null,
  x: { low: 0, high: 10 },
  toX: (value: number) => value,
  toY: (value: number) => value,
  top: 0,
  bottom: 100,
  scale: 1,
};

test("a line is broken where a value is missing, and a lone point is seen", () => {
  const pen = svgPen();
  paint(pen, { ...picture, curves: [curveOf([1, 2, Number.NaN, 4])] });
  const [line = "", dot = ""] = pen.elements;
  assert.match(line, /d="M0\.00 1\.00L1\.00 2\.00"/);
  assert.match(dot, /d="M0\.50 4\.00L5\.50 4\.00".* stroke-width="5"/);
});

test("the spread of a group at a single place is seen", () => {
  const pen = svgPen();
  const picture = { marks: [], highlighted: null, x: { low: 0, high: 2 }, top: 0, bottom: 9, scale: 1 };
  const band = { x: [1], low: [2], high: [5], runs: [3] };
  const curves = [curveOf([], { line: [{ x: 1, y: 3 }], band })];
  paint(pen, { ...picture, curves, toX: (value) => 10 * value, toY: (value) => 100 - 10 * value });
  assert.ok(pen.elements.some((element) => element.includes("M10.00 50.00L10.00 80.00")));
});

test("a line that fills its chart has no dashes, which nobody could tell apart", () => {
  const dashed = (values: number[]) => {
    const pen = svgPen();
    paint(pen, { ...picture, x: { low: 0, high: 999 }, curves: [curveOf(values, { dash: [6, 3] })] });
    return pen.elements[0]?.includes("stroke-dasharray");
  };
  const noise = Array.from({ length: 500 }, (_, at) => (at % 2) * 100);
  assert.equal(dashed(noise.map((value) => value / 100)), true, "a smooth line has them");
  assert.equal(dashed(noise), false);
});

test("each kind of value that is not finite has a mark of its own", () => {
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    const pen = svgPen();
    paint(pen, { ...picture, curves: [curveOf([], { odd: [{ x: 5, step: 5, value, count: 1 }] })] });
    assert.equal(pen.elements.length, 1);
  }
});

test("an SVG contains names as text", () => {
  const svg = svgOf({
    title: "<script>alert(1)</script>",
    curves: [curveOf([1, 2], { label: 'a"&<b>' })],
    marks: [],
    xKind: "metric",
    xLabel: "lr <0>",
    logX: false,
    logY: false,
    x: { low: 0, high: 1 },
    y: { low: 0, high: 2 },
    width: 400,
    height: 200,
    colours: { back: "#fff", text: "#000", muted: "#777", line: "#ddd" },
  });
  assert.ok(!svg.includes("<script") && !svg.includes("<b>"));
  assert.ok(svg.includes("a&quot;&amp;&lt;b&gt;"));
  assert.ok(svg.includes("lr &lt;0&gt;"), "the axis of x is named");
});

test("no field of CSV is a formula or breaks the line", () => {
  assert.equal(csvField("=1+1"), "'=1+1");
  assert.equal(csvField('a,"b'), '"a,""b"');
  assert.equal(csvField(-1), "-1");
  assert.match(csvOfCurves([curveOf([1])]), /^curve,x,step.*\r\nrun,0,/);
});

test("a rewind is marked at its step, a resume at the first point behind it", () => {
  const run = { id: "a", colour: "#123456" };
  const found = happeningsOf(run, [{ step: 7, time: 150 }, "x"], [{ time: 101.5 }, null]);
  assert.deepEqual(
    found.map(({ kind, step, time }) => [kind, step, time]),
    [
      ["rewound", 7, 150],
      ["resumed", null, 101.5],
    ],
  );
  const columns = { x: Float64Array.of(0, 1, 2), time: Float64Array.of(100, 101, 102) };
  const curve = curveOf([], { columns: columns as unknown as NonNullable<Curve["columns"]> });
  const places = (kind: "step" | "time" | "relative") => marksOf(found, [curve], kind).map(({ x }) => x);
  assert.deepEqual(places("step"), [7, 2]);
  assert.deepEqual(places("time"), [150, 101.5]);
  assert.deepEqual(places("relative"), [2]);
  assert.match(marksOf(found, [curve], "step")[0]?.text ?? "", /^rewound to step 7, /);
  const other = curveOf([1, 2], { owner: "b" });
  assert.deepEqual(
    marksOf(found, [other], "step"),
    [],
    "a chart that does not show the run has no mark of it",
  );
});

test("a chart keeps of a setting only what differs from all charts", () => {
  assert.deepEqual(turned({}, "clip", false), { clip: true });
  assert.deepEqual(turned({ clip: true, big: true }, "clip", false), { big: true });
  assert.deepEqual(turned({ clip: true }, "clip", true), { clip: false });
  assert.deepEqual(turned({}, "clip", true), { clip: false });
});

test("the address holds what single charts have set, and nothing that makes no sense", () => {
  const value = { loss: { clip: true, range: { low: -1.5, high: 2e-7 }, more: ["a,b"] } };
  assert.deepEqual(owns.read(owns.write(value)), value);
  assert.equal(owns.write({ loss: {} }), null);
  const odd = { a: null, b: { range: { low: 2, high: 1 }, y: 1, more: "x" }, c: { big: true, z: 1 } };
  assert.deepEqual(owns.read(JSON.stringify(odd)), { c: { big: true } });
});
