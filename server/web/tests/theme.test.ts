import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { colourOf, dashesOf, PALETTE } from "../src/theme";

/** Contrast of two colours by WCAG 2. */
function contrast(one: string, other: string): number {
  const light = (colour: string) => {
    const parts = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16) / 255);
    const [r = 0, g = 0, b = 0] = parts.map((part) =>
      part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [high = 0, low = 0] = [light(one), light(other)].sort((a, b) => b - a);
  return (high + 0.05) / (low + 0.05);
}

/** The variables of a theme, from the style sheet. */
function theme(selector: string): Map<string, string> {
  const sheet = readFileSync("src/style.css", "utf8");
  const rule = sheet.slice(sheet.indexOf(`${selector} {`)).split("}")[0] ?? "";
  return new Map([...rule.matchAll(/(--[\w-]+):\s*(#[0-9a-f]{6})/g)].map((m) => [m[1] ?? "", m[2] ?? ""]));
}

for (const selector of [":root", ':root[data-theme="dark"]']) {
  const colours = theme(selector);
  const get = (name: string) => colours.get(name) ?? "";
  test(`texts can be read in ${selector}`, () => {
    for (const back of ["--back", "--side", "--raised", "--hover", "--chosen"]) {
      for (const text of ["--text", "--muted", "--accent", "--error-text"]) {
        assert.ok(
          contrast(get(text), get(back)) >= 4.5,
          `${text} on ${back}: ${contrast(get(text), get(back))}`,
        );
      }
    }
    assert.ok(contrast(get("--on-accent"), get("--accent")) >= 4.5);
    assert.ok(contrast(get("--warning-text"), get("--warning-back")) >= 4.5);
    assert.ok(contrast(get("--error-text"), get("--error-back")) >= 4.5);
  });
  test(`curves and dots can be seen in ${selector}`, () => {
    const dots = ["--running", "--completed", "--failed", "--lost", "--stopped"].map(get);
    for (const colour of [...PALETTE, ...dots]) {
      assert.ok(contrast(colour, get("--back")) >= 3, `${colour}: ${contrast(colour, get("--back"))}`);
    }
  });
}

test("a run has one colour for ever, and many runs have them all", () => {
  assert.equal(colourOf("00ff"), colourOf("00ff"));
  const seen = new Set<string>();
  for (let at = 0; at < 500; at++) seen.add(colourOf(`run ${at}`));
  assert.equal(seen.size, PALETTE.length);
});

test("of runs in one colour the oldest has a whole line, whatever comes later", () => {
  const run = (id: string, colour: string, created: number) => ({ id, colour, created });
  const [one, two, other] = [run("b", "red", 1), run("a", "red", 2), run("c", "blue", 3)];
  assert.deepEqual(dashesOf([two, one, other]).get("b"), []);
  assert.deepEqual(dashesOf([two, one, other]).get("c"), []);
  assert.notDeepEqual(dashesOf([two, one]).get("a"), []);
  assert.deepEqual(dashesOf([run("d", "red", 9), two, one]).get("a"), dashesOf([two, one]).get("a"));
  assert.deepEqual(dashesOf([two]).get("a"), []);
});

test("a colour set by hand is taken if it is one", () => {
  assert.equal(colourOf("a", "#123456"), "#123456");
  assert.equal(colourOf("a", "url(x)"), colourOf("a"));
});
