import type { JSX } from "preact";
import { Empty } from "../parts/states";

export default function Charts(): JSX.Element {
  return <Empty title="Charts" />;
}
