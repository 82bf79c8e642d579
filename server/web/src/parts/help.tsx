// The list of keys that `?` opens.
import type { JSX } from "preact";
import { activeKeys, type Key } from "../keys";
import { Dialog } from "./dialog";

const SIGNS: Record<string, string> = {
  ArrowDown: "↓",
  ArrowUp: "↑",
  ArrowLeft: "←",
  ArrowRight: "→",
  Enter: "⏎",
  Escape: "Esc",
};

/** Keys that do the same stand together. */
function byLabel(keys: readonly Key[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const key of keys) found.set(key.label, [...(found.get(key.label) ?? []), key.keys]);
  return found;
}

/** All keys that work at present, by page. */
export function Help(props: { onClose: () => void }): JSX.Element {
  const groups = new Map<string, Key[]>();
  for (const key of activeKeys()) {
    const name = key.group ?? "Everywhere";
    groups.set(name, [...(groups.get(name) ?? []), key]);
  }
  return (
    <Dialog title="Keys" class="help" onClose={props.onClose}>
      {[...groups].map(([name, keys]) => (
        <section key={name}>
          <h3>{name}</h3>
          <dl>
            {[...byLabel(keys)].map(([label, ways]) => (
              <div key={label}>
                <dt>
                  {ways
                    .flatMap((way) => way.split(" "))
                    .map((part, at) => (
                      <kbd key={`${at} ${part}`}>{SIGNS[part] ?? part}</kbd>
                    ))}
                </dt>
                <dd>{label}</dd>
              </div>
            ))}
          </dl>
        </section>
      ))}
    </Dialog>
  );
}
