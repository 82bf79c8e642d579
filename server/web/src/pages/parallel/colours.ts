// Colours of lines by a value: viridis, which is even to the eye and to the colour-blind, without the end that the
// background of a theme swallows. Pure functions.
import { PALETTE } from "../../theme";
import { type Axis, ON_AXIS, shareOf } from "./axes";

const VIRIDIS = [
  ...["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c"],
  ...["#28ae80", "#5ec962", "#addc30", "#fde725"],
].map((hex) => [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16)));

/** Lines of one colour are drawn together. */
export const BUCKETS = 32;
/** What has no place on the axis of colours. */
export const NO_COLOUR = BUCKETS;

/** The colour of a share from 0 to 1. */
export function scaleColour(share: number, dark: boolean): string {
  const place = (dark ? 0.32 + share * 0.68 : share * 0.86) * (VIRIDIS.length - 1);
  const at = Math.max(0, Math.min(VIRIDIS.length - 2, Math.floor(place)));
  const [from = [], to = []] = [VIRIDIS[at], VIRIDIS[at + 1]];
  const mixed = from.map((part, channel) =>
    Math.round(part + ((to[channel] as number) - part) * Math.min(1, place - at)),
  );
  return `#${mixed.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
}

/** Colours of the buckets of an axis; the last one is of what is off it. */
export function bucketColours(axis: Axis | null, dark: boolean, without: string): string[] {
  const colours = Array.from({ length: BUCKETS }, (_, at) =>
    axis?.kind === "category"
      ? (PALETTE[at % PALETTE.length] as string)
      : scaleColour(at / (BUCKETS - 1), dark),
  );
  return [...colours, without];
}

/** The bucket of each row. */
export function bucketsOf(axis: Axis | null, rows: number): Uint8Array {
  const found = new Uint8Array(rows).fill(NO_COLOUR);
  if (axis === null) return found;
  for (let row = 0; row < rows; row++) {
    if (axis.rails[row] !== ON_AXIS) continue;
    const number = axis.numbers[row] as number;
    found[row] =
      axis.kind === "category"
        ? number % PALETTE.length
        : Math.min(BUCKETS - 1, Math.floor(shareOf(axis, number) * BUCKETS));
  }
  return found;
}
