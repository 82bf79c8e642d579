// The choice among databases, where the service has several. Another one is another page: nothing of the old one stays.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { BASE, fetchSession } from "../api";
import { hasText } from "../find";
import { useFetch, useSession } from "../hooks";
import { DATABASE, escapeText, formatLocation } from "../state";
import { Icon } from "./icons";
import { Menu } from "./menu";
import { SearchField } from "./search";

/** The address of a database's first page. */
const addressOf = (name: string) =>
  BASE + formatLocation({ view: "home", params: new Map([[DATABASE, escapeText(name)]]) });

/** The menu in the header. */
export function DatabaseMenu(): JSX.Element | null {
  const { database, databases } = useSession();
  if (database === null) return null;
  return (
    <Menu
      class="quiet database-button"
      label={`Database: ${database}`}
      button={
        <>
          <span>{database}</span>
          <Icon name="down" />
        </>
      }
    >
      {() => <Newest names={databases} current={database} />}
    </Menu>
  );
}

/** Those that there are when the menu is opened. */
function Newest(props: { names: readonly string[]; current: string }): JSX.Element {
  const { data } = useFetch("databases", fetchSession);
  return <DatabaseLinks names={data?.databases ?? props.names} current={props.current} />;
}

/** Links to all databases. */
export function DatabaseLinks(props: { names: readonly string[]; current: string | null }): JSX.Element {
  const [search, setSearch] = useState("");
  const found = props.names.filter((name) => hasText(name, search));
  return (
    <>
      {props.names.length > 8 && <SearchField label="Search databases" value={search} onChange={setSearch} />}
      {found.map((name) => (
        <a
          key={name}
          class="item"
          role="menuitemradio"
          aria-checked={name === props.current}
          href={addressOf(name)}
        >
          {name}
        </a>
      ))}
    </>
  );
}
