// A field that searches a list beside it.
import type { JSX } from "preact";

export function SearchField(props: {
  label: string;
  /** What stands in it as long as it is empty. */
  hint?: string;
  value: string;
  onChange: (text: string) => void;
}): JSX.Element {
  return (
    <input
      type="search"
      aria-label={props.label}
      placeholder={props.hint ?? "Search"}
      value={props.value}
      onInput={(event) => props.onChange(event.currentTarget.value)}
    />
  );
}
