import type { JSX } from "preact";
import { Empty } from "../parts/states";

export default function Graph(): JSX.Element {
  return <Empty title="Graph" />;
}
