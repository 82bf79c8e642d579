// The menus above the table: which columns, grouped by what.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import type { Fields } from "../../api";
import { hasText } from "../../find";
import { Icon } from "../../parts/icons";
import { Menu } from "../../parts/menu";
import { SearchField } from "../../parts/search";
import { allColumns, type Column, splitSeries } from "./columns";

const MOST_LISTED = 300;

/** Choose columns: a list with a search, and the way back to what differs. */
export function ColumnChooser(props: {
  fields: Fields | null;
  chosen: readonly string[];
  isDefault: boolean;
  onChange: (names: string[] | null) => void;
}): JSX.Element {
  const { fields, chosen } = props;
  const [search, setSearch] = useState("");
  const differs = new Set(fields?.fields.filter((field) => field.differs).map((field) => field.name));
  return (
    <Menu
      button={
        <>
          <Icon name="columns" />
          Columns
        </>
      }
      panelClass="chooser"
    >
      {() => {
        const found = allColumns(fields).filter((column) => hasText(column.name, search));
        const groups = new Map<string, Column[]>();
        for (const column of found.slice(0, MOST_LISTED)) {
          groups.set(column.group, [...(groups.get(column.group) ?? []), column]);
        }
        return (
          <>
            <SearchField label="Search columns" value={search} onChange={setSearch} />
            <div class="chooser-actions">
              <button
                type="button"
                class="link"
                disabled={props.isDefault}
                onClick={() => props.onChange(null)}
              >
                What differs
              </button>
              <button type="button" class="link" onClick={() => props.onChange([])}>
                None
              </button>
              {search !== "" && found.length > 0 && (
                <button
                  type="button"
                  class="link"
                  onClick={() => props.onChange([...new Set([...chosen, ...found.map((one) => one.name)])])}
                >
                  Add the {found.length} found
                </button>
              )}
            </div>
            <div class="chooser-list">
              {[...groups].map(([group, columns]) => (
                <fieldset key={group}>
                  <legend>{group}</legend>
                  {columns.map((column) => (
                    <ColumnChoice
                      key={column.name}
                      column={column}
                      chosen={chosen}
                      differs={differs.has(column.name)}
                      onChange={props.onChange}
                    />
                  ))}
                </fieldset>
              ))}
              {found.length > MOST_LISTED && (
                <p class="hint">{found.length - MOST_LISTED} more: search for them.</p>
              )}
              {found.length === 0 && <p class="hint">No column has this in its name.</p>}
            </div>
          </>
        );
      }}
    </Menu>
  );
}

function ColumnChoice(props: {
  column: Column;
  chosen: readonly string[];
  differs: boolean;
  onChange: (names: string[]) => void;
}): JSX.Element {
  const { column, chosen } = props;
  // Of a metric any statistic may be shown.
  const stem = (name: string) => {
    const found = splitSeries(name);
    return found === null ? name : `${found.root}.${found.series}`;
  };
  const shown = chosen.filter((name) => stem(name) === stem(column.name));
  return (
    <label class="choice">
      <input
        type="checkbox"
        checked={shown.length > 0}
        onChange={() =>
          props.onChange(
            shown.length > 0 ? chosen.filter((name) => !shown.includes(name)) : [...chosen, column.name],
          )
        }
      />
      <span>{column.label}</span>
      {props.differs && <span class="hint">differs</span>}
    </label>
  );
}

/** Choose by what runs are grouped. */
export function GroupChooser(props: {
  fields: Fields | null;
  by: readonly string[];
  onChange: (by: string[]) => void;
}): JSX.Element {
  const { by } = props;
  const [search, setSearch] = useState("");
  const groupable = allColumns(props.fields).filter(
    (column) => column.series === undefined && !["moment", "duration"].includes(column.kind),
  );
  return (
    <Menu
      button={
        <>
          <Icon name="group" />
          {by.length === 0 ? "Group" : `By ${by.map((name) => name.replace(/^\w+\./, "")).join(", ")}`}
        </>
      }
      class={`button${by.length > 0 ? " on" : ""}`}
      panelClass="chooser"
    >
      {(close) => (
        <>
          <SearchField label="Search values to group by" value={search} onChange={setSearch} />
          {by.length > 0 && (
            <div class="chooser-actions">
              <button
                type="button"
                class="link"
                onClick={() => {
                  close();
                  props.onChange([]);
                }}
              >
                No groups
              </button>
            </div>
          )}
          <div class="chooser-list">
            {groupable
              .filter((column) => hasText(column.name, search))
              .slice(0, MOST_LISTED)
              .map((column) => (
                <label class="choice" key={column.name}>
                  <input
                    type="checkbox"
                    checked={by.includes(column.name)}
                    onChange={() =>
                      props.onChange(
                        by.includes(column.name)
                          ? by.filter((name) => name !== column.name)
                          : [...by, column.name],
                      )
                    }
                  />
                  <span>{column.label}</span>
                  <span class="hint">{column.group.toLowerCase()}</span>
                </label>
              ))}
          </div>
        </>
      )}
    </Menu>
  );
}
