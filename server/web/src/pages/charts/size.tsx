// How large charts are.
import type { JSX } from "preact";
import { type ChartSize, SIZES } from "./settings";

const NAMES = { s: "small", m: "medium", l: "large" } as const;

export function SizeChoice(props: { size: ChartSize; onChange: (size: ChartSize) => void }): JSX.Element {
  return (
    <select
      aria-label="Size of charts"
      value={props.size}
      onChange={(event) => props.onChange(event.currentTarget.value as ChartSize)}
    >
      {SIZES.map((size) => (
        <option key={size} value={size}>
          {NAMES[size]}
        </option>
      ))}
    </select>
  );
}
