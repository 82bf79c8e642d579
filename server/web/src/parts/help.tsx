// The list of keys that `?` opens.
import type { JSX } from "preact";
import { activeKeys, type Key } from "../keys";
import { Dialog } from "./dialog";

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
            {keys.map((key) => (
              <div key={key.keys}>
                <dt>
                  {key.keys.split(" ").map((part) => (
                    <kbd key={part}>{part}</kbd>
                  ))}
                </dt>
                <dd>{key.label}</dd>
              </div>
            ))}
          </dl>
        </section>
      ))}
    </Dialog>
  );
}
