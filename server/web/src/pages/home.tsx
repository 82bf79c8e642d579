import type { JSX } from "preact";
import { Empty } from "../parts/states";

export function Home(): JSX.Element {
  return <Empty title="Home" />;
}
