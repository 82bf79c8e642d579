// The head of the table: sorting by a click, a menu for everything else, dragging to another place or width.
import type { JSX } from "preact";
import { useRef, useState } from "preact/hooks";
import { Icon } from "../../parts/icons";
import { Menu, MenuItem } from "../../parts/menu";
import { isRight } from "./cell";
import { type Column, directionOf, moved, nextOrder, STATISTICS, seriesColumn } from "./columns";

export interface HeaderProps {
  columns: readonly Column[];
  pinned: ReadonlySet<string>;
  order: readonly string[];
  offsets: ReadonlyMap<string, number>;
  allSelected: boolean;
  onOrder: (order: string[]) => void;
  /** New names of the columns, in their order. */
  onColumns: (names: string[]) => void;
  onPin: (name: string) => void;
  onWidth: (name: string, width: number) => void;
  onGroup: (name: string) => void;
  onSelectAll: () => void;
}

const DRAG_PX = 6;
const LEAST_PX = 56;

/** The row of column headers. */
export function Header(props: HeaderProps): JSX.Element {
  const { columns } = props;
  const [drag, setDrag] = useState<{ name: string; to: number } | null>(null);
  return (
    <div class="row head" role="row" aria-rowindex={1}>
      <div class="cell name" role="columnheader" aria-sort={directionOf(props.order, "name")}>
        <input
          type="checkbox"
          aria-label="Select all runs"
          checked={props.allSelected}
          onClick={(event) => {
            event.preventDefault();
            props.onSelectAll();
          }}
        />
        <SortButton name="name" label="Name" title="name" {...props} />
      </div>
      {columns.map((column, at) => (
        <HeaderCell
          key={column.name}
          column={column}
          at={at}
          mark={drag !== null && drag.name !== column.name && drag.to === at}
          onDrag={setDrag}
          {...props}
        />
      ))}
    </div>
  );
}

function SortButton(props: {
  name: string;
  label: string;
  title: string;
  detail?: string | undefined;
  order: readonly string[];
  onOrder: (order: string[]) => void;
}): JSX.Element {
  const { name, order } = props;
  const direction = directionOf(order, name);
  const place = order.length > 1 ? order.findIndex((one) => one.replace(/^-/, "") === name) + 1 : 0;
  return (
    <button
      type="button"
      class="sort"
      title={`${props.title}: sort (with Shift: also by this)`}
      onClick={(event) => props.onOrder(nextOrder(order, name, event.shiftKey))}
    >
      <span class="label">{props.label}</span>
      {props.detail !== undefined && <span class="detail">{props.detail}</span>}
      {direction !== "none" && <Icon name={direction === "ascending" ? "up" : "down"} />}
      {place > 0 && <sup>{place}</sup>}
    </button>
  );
}

interface HeaderCellProps extends HeaderProps {
  column: Column;
  at: number;
  mark: boolean;
  onDrag: (drag: { name: string; to: number } | null) => void;
}

function HeaderCell(props: HeaderCellProps): JSX.Element {
  const { column, columns, offsets } = props;
  const left = offsets.get(column.name);
  const cell = useRef<HTMLDivElement>(null);
  const names = columns.map((one) => one.name);

  /** Follow the pointer until it is let go; then the column stands where the mark was. */
  const startDrag = (down: PointerEvent) => {
    const head = cell.current?.parentElement;
    if (down.button !== 0 || head == null) return;
    let to: number | null = null;
    const move = (event: PointerEvent) => {
      if (to === null && Math.abs(event.clientX - down.clientX) < DRAG_PX) return;
      const cells = [...head.children].slice(1);
      const at = cells.findIndex((one) => {
        const box = one.getBoundingClientRect();
        return event.clientX < box.left + box.width / 2;
      });
      to = at < 0 ? cells.length : at;
      props.onDrag({ name: column.name, to });
    };
    const stop = (event: PointerEvent) => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", stop);
      window.removeEventListener("pointercancel", stop);
      props.onDrag(null);
      if (to === null || event.type !== "pointerup") return;
      // A click follows, which would sort.
      head.addEventListener("click", (click) => click.stopPropagation(), { capture: true, once: true });
      const from = names.indexOf(column.name);
      props.onColumns(moved(names, column.name, to > from ? to - 1 : to));
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", stop);
    window.addEventListener("pointercancel", stop);
  };
  const startResize = (down: PointerEvent) => {
    down.preventDefault();
    down.stopPropagation();
    const move = (event: PointerEvent) =>
      props.onWidth(column.name, Math.max(LEAST_PX, Math.round(column.width + event.clientX - down.clientX)));
    const stop = () => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", stop);
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", stop);
  };
  return (
    <div
      ref={cell}
      class={`cell${isRight(column) ? " right" : ""}${left === undefined ? "" : " pinned"}${props.mark ? " mark" : ""}`}
      role="columnheader"
      aria-sort={directionOf(props.order, column.name)}
      style={left === undefined ? undefined : { left: `${left}px` }}
      onPointerDown={startDrag}
    >
      <SortButton
        name={column.name}
        label={column.label}
        detail={column.statistic}
        title={column.name}
        order={props.order}
        onOrder={props.onOrder}
      />
      <Menu class="quiet column-menu" label={`Column ${column.label}`} button={<Icon name="more" />}>
        {(close) => <ColumnMenu {...props} names={names} close={close} />}
      </Menu>
      {/* The width can be set by the pointer alone; texts that are cut are in titles. */}
      <i class="resize" aria-hidden="true" onPointerDown={startResize} />
    </div>
  );
}

function ColumnMenu(props: HeaderCellProps & { names: string[]; close: () => void }): JSX.Element {
  const { column, names, at, close } = props;
  const then = (action: () => void) => () => {
    close();
    action();
  };
  const replace = (name: string) => names.map((one) => (one === column.name ? name : one));
  const root = column.name.split(".", 1)[0] ?? "";
  const groups =
    ["Parameter", "Tag", "Metadata"].includes(column.group) || /^(status|group|project)$/.test(column.name);
  return (
    <>
      <p class="menu-title">
        <span class="hint">{column.group}</span> {column.label}
      </p>
      <MenuItem onClick={then(() => props.onOrder([column.name]))}>
        <Icon name="up" /> Sort upwards
      </MenuItem>
      <MenuItem onClick={then(() => props.onOrder([`-${column.name}`]))}>
        <Icon name="down" /> Sort downwards
      </MenuItem>
      {column.series !== undefined && (
        <>
          <p class="menu-title hint">Statistic</p>
          {STATISTICS.map((statistic) => {
            const name = seriesColumn(root, column.series ?? "", statistic);
            return (
              <MenuItem
                key={statistic}
                checked={statistic === column.statistic}
                onClick={then(() => props.onColumns([...new Set(replace(name))]))}
              >
                {statistic}
              </MenuItem>
            );
          })}
          <MenuItem
            onClick={then(() => {
              const free = STATISTICS.map((one) => seriesColumn(root, column.series ?? "", one)).find(
                (name) => !names.includes(name),
              );
              if (free !== undefined)
                props.onColumns([...names.slice(0, at + 1), free, ...names.slice(at + 1)]);
            })}
          >
            <Icon name="plus" /> One more statistic
          </MenuItem>
        </>
      )}
      <p class="menu-title hint">Column</p>
      <MenuItem onClick={then(() => props.onPin(column.name))}>
        <Icon name="pin" /> {props.pinned.has(column.name) ? "Unpin" : "Pin to the left"}
      </MenuItem>
      {at > 0 && (
        <MenuItem onClick={then(() => props.onColumns(moved(names, column.name, at - 1)))}>
          Move left
        </MenuItem>
      )}
      {at < names.length - 1 && (
        <MenuItem onClick={then(() => props.onColumns(moved(names, column.name, at + 1)))}>
          Move right
        </MenuItem>
      )}
      {groups && (
        <MenuItem onClick={then(() => props.onGroup(column.name))}>
          <Icon name="group" /> Group by this
        </MenuItem>
      )}
      <MenuItem onClick={then(() => props.onColumns(names.filter((one) => one !== column.name)))}>
        <Icon name="close" /> Remove the column
      </MenuItem>
    </>
  );
}
