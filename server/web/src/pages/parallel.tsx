import type { JSX } from "preact";
import { Empty } from "../parts/states";

export default function Parallel(): JSX.Element {
  return <Empty title="Parallel" />;
}
