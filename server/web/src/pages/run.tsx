import type { JSX } from "preact";
import { Empty } from "../parts/states";

export default function Run(): JSX.Element {
  return <Empty title="Run" />;
}
