import type { JSX } from "preact";
import { Empty } from "../parts/states";

export default function Compare(): JSX.Element {
  return <Empty title="Compare" />;
}
