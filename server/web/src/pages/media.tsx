import type { JSX } from "preact";
import { Empty } from "../parts/states";

export default function Media(): JSX.Element {
  return <Empty title="Media" />;
}
