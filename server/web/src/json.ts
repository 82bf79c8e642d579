// JSON without losing a digit: an integer beyond 2^53, which a number of JavaScript cannot hold, is a bigint. All JSON
// of the front end is read and written here.

/** An integer of 16 digits or more where a value may stand; inside of a text it costs time only. */
const HAS_LONG = /(?:^|[[:,\s])-?\d{16,}(?:$|[\],}\s])/;
const TEXT_OR_NUMBER = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*/g;
const INTEGER = /^-?[1-9]\d{15,}$/;

/** What no text begins with that was there before. */
const newMark = () => `${Math.random().toString(36).slice(2)}/`;

/** The value of a text; throws a SyntaxError for one that is no JSON. */
// biome-ignore lint/suspicious/noExplicitAny: as JSON.parse
export function parseJson(text: string): any {
  if (!HAS_LONG.test(text)) return JSON.parse(text);
  const mark = newMark();
  const marked = text.replace(TEXT_OR_NUMBER, (token) =>
    INTEGER.test(token) && !Number.isSafeInteger(Number(token)) ? `"${mark}${token}"` : token,
  );
  return JSON.parse(marked, (_key, value) =>
    typeof value === "string" && value.startsWith(mark) ? BigInt(value.slice(mark.length)) : value,
  );
}

/** A value as JSON; with an indent each item stands on a line of its own. */
export function writeJson(value: unknown, indent = 0): string {
  const mark = newMark();
  const exact = (_key: string, one: unknown) => {
    if (typeof one === "bigint") return mark + one;
    // With an exponent a float remains one.
    const isLong = Number.isInteger(one) && !Number.isSafeInteger(one);
    return isLong ? mark + (one as number).toExponential() : one;
  };
  return JSON.stringify(value, exact, indent)?.replace(new RegExp(`"${mark}([^"]+)"`, "g"), "$1");
}
