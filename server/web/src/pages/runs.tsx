import type { JSX } from "preact";
import { Empty } from "../parts/states";

export function Runs(): JSX.Element {
  return <Empty title="Runs" />;
}
