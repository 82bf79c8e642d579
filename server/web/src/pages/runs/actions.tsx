// What can be done with the selected runs.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { call, type TrialId } from "../../api";
import { formatCount, plural } from "../../format";
import { useFetch, useMayWrite } from "../../hooks";
import { Dialog } from "../../parts/dialog";
import { Icon } from "../../parts/icons";
import { Link } from "../../parts/link";
import { Menu, MenuItem } from "../../parts/menu";
import { Status, statusWord } from "../../parts/status";
import { notify, notifyError } from "../../parts/toasts";
import { list, useProject } from "../../state";
import { PALETTE } from "../../theme";

const AT_ONCE = 8;

/** Do something with each run, several at a time; throws the first error after all were tried. */
async function forEach(ids: readonly TrialId[], act: (id: TrialId) => Promise<unknown>): Promise<void> {
  const pending = [...ids];
  const errors: unknown[] = [];
  const worker = async () => {
    for (let id = pending.pop(); id !== undefined; id = pending.pop()) {
      await act(id).catch((error: unknown) => errors.push(error));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (errors.length === 0) return;
  const [first] = errors;
  const message = first instanceof Error ? first.message : String(first);
  throw new Error(errors.length === 1 ? message : `${errors.length} of ${ids.length} failed: ${message}`);
}

async function setHidden(ids: readonly TrialId[], hidden: boolean): Promise<void> {
  await forEach(ids, (trial) => call("log_trial_metadata", { trial, metadata: { hidden } }));
}

/** Hide runs, or show them again, and say so, with a way back. */
export function hide(ids: readonly TrialId[], hidden: boolean): void {
  const done = `${plural(ids.length, "run")} ${hidden ? "hidden" : "shown again"}.`;
  setHidden(ids, hidden).then(
    () => notify(done, () => void setHidden(ids, !hidden).catch(notifyError)),
    notifyError,
  );
}

/** The bar that stands above the table while runs are selected. */
export function SelectionBar(props: {
  selected: readonly TrialId[];
  total: number;
  onClear: () => void;
  onSelectAll: () => void;
  /** Have no others drawn in charts. */
  onDrawOnly: () => void;
  showsHidden: boolean;
}): JSX.Element {
  const { selected } = props;
  return (
    <div class="bar selection" role="toolbar" aria-label="Selected runs">
      <strong>{formatCount(selected.length)} selected</strong>
      <button type="button" class="link" onClick={props.onClear}>
        None
      </button>
      {selected.length < props.total && (
        <button type="button" class="link" onClick={props.onSelectAll}>
          All {formatCount(props.total)}
        </button>
      )}
      <span class="gap" />
      <button
        type="button"
        class="button"
        title="Charts and media show these runs and no others"
        onClick={props.onDrawOnly}
      >
        <Icon name="eye" />
        Draw only these
      </button>
      {selected.length > 1 && (
        <Link class="button" view="compare">
          <Icon name="compare" />
          Compare
        </Link>
      )}
      <RunActions selected={selected} hidden={props.showsHidden} onDone={props.onClear} />
    </div>
  );
}

/** What may be done with some runs, for those who may write. */
export function RunActions(props: {
  selected: readonly TrialId[];
  /** Whether they are hidden now. */
  hidden: boolean;
  /** They were hidden or deleted. */
  onDone: () => void;
}): JSX.Element | null {
  const { selected, hidden } = props;
  const mayWrite = useMayWrite();
  const [deleting, setDeleting] = useState(false);
  if (!mayWrite) return null;
  return (
    <>
      {selected.length === 1 && <RenameMenu trial={selected[0] as TrialId} />}
      <ColourMenu selected={selected} />
      <TagMenu selected={selected} />
      <GroupMenu selected={selected} />
      <StatusMenu selected={selected} />
      <button
        type="button"
        class="button"
        onClick={() => {
          hide(selected, !hidden);
          props.onDone();
        }}
      >
        <Icon name={hidden ? "eye" : "shut"} />
        {hidden ? "Show again" : "Hide"}
      </button>
      <button type="button" class="button danger" onClick={() => setDeleting(true)}>
        <Icon name="trash" />
        Delete
      </button>
      {deleting && (
        <DeleteDialog
          selected={selected}
          onClose={() => setDeleting(false)}
          onDone={() => {
            setDeleting(false);
            props.onDone();
          }}
        />
      )}
    </>
  );
}

/** Statuses that a person gives a run, such as one that was lost; see `Status` of the store's model. */
const STATUSES: readonly { name: string; value: number }[] = [
  { name: "Completed", value: 302 },
  { name: "Interrupted", value: 201 },
  { name: "Broken", value: 203 },
];

function StatusMenu({ selected }: { selected: readonly TrialId[] }): JSX.Element {
  const set = (status: { name: string; value: number }) => {
    forEach(selected, (trial) => call("set_trial_status", { trial, status })).then(
      () => notify(`${plural(selected.length, "run")} set to ${statusWord(status.name)}.`),
      notifyError,
    );
  };
  return (
    <Menu
      button={
        <>
          <Icon name="check" />
          Status
        </>
      }
    >
      {(close) =>
        STATUSES.map((status) => (
          <MenuItem
            key={status.name}
            onClick={() => {
              close();
              set(status);
            }}
          >
            <Status status={status.name} />
          </MenuItem>
        ))
      }
    </Menu>
  );
}

function RenameMenu({ trial }: { trial: TrialId }): JSX.Element {
  return (
    <Menu
      button={
        <>
          <Icon name="edit" />
          Rename
        </>
      }
      panelClass="views-panel"
    >
      {(close) => <RenameForm trial={trial} close={close} />}
    </Menu>
  );
}

function RenameForm({ trial, close }: { trial: TrialId; close: () => void }): JSX.Element | null {
  const { data } = useFetch(`rename ${trial}`, (signal) =>
    call("fetch_rows", { trials: [trial], columns: ["name", "description"] }, signal),
  );
  const first = useRef<HTMLInputElement>(null);
  const isThere = data !== null;
  useEffect(() => {
    if (isThere) first.current?.focus();
  }, [isThere]);
  if (data === null) return null;
  const [name, note] = data.columns.map((column) => (typeof column[0] === "string" ? column[0] : ""));
  return (
    <form
      class="rename"
      onSubmit={(event) => {
        event.preventDefault();
        const given = new FormData(event.currentTarget);
        close();
        const changed = { name: String(given.get("name")).trim(), description: String(given.get("note")) };
        call("rename_trial", { trial, ...changed }).then(() => notify("The run is renamed."), notifyError);
      }}
    >
      <label>
        Name
        <input ref={first} name="name" required defaultValue={name} />
      </label>
      <label>
        Note
        <textarea name="note" rows={4} defaultValue={note} />
      </label>
      <button type="submit" class="button primary">
        Save
      </button>
    </form>
  );
}

function ColourMenu({ selected }: { selected: readonly TrialId[] }): JSX.Element {
  const set = (colour: string | null) =>
    forEach(selected, (trial) => call("log_trial_metadata", { trial, metadata: { colour } })).catch(
      notifyError,
    );
  return (
    <Menu
      button={
        <>
          <i class="swatch rainbow" />
          Colour
        </>
      }
    >
      {(close) => (
        <>
          <div class="swatches">
            {PALETTE.map((colour) => (
              <button
                key={colour}
                type="button"
                class="quiet"
                aria-label={`Colour ${colour}`}
                onClick={() => {
                  close();
                  void set(colour);
                }}
              >
                <i class="swatch" style={{ background: colour }} />
              </button>
            ))}
          </div>
          <MenuItem
            onClick={() => {
              close();
              void set(null);
            }}
          >
            <Icon name="reset" /> Its own colour
          </MenuItem>
        </>
      )}
    </Menu>
  );
}

function TagMenu({ selected }: { selected: readonly TrialId[] }): JSX.Element {
  const [name, setName] = useState("");
  const [value, setValue] = useState("");
  const { data, again } = useFetch(`tags ${list.write(selected)}`, (signal) =>
    call("fetch_rows", { trials: [...selected], columns: ["tags"] }, signal),
  );
  const names = new Set<string>();
  for (const tags of data?.columns[0] ?? []) {
    if (typeof tags === "object" && tags !== null) for (const tag of Object.keys(tags)) names.add(tag);
  }
  return (
    <Menu
      button={
        <>
          <Icon name="tag" />
          Tag
        </>
      }
      panelClass="views-panel"
    >
      {(close) => (
        <>
          <form
            class="inline-form"
            onSubmit={(event) => {
              event.preventDefault();
              const tags = { [name.trim()]: tagValue(value) };
              close();
              forEach(selected, (trial) => call("add_trial_tags", { trial, tags })).then(() => {
                notify(`${plural(selected.length, "run")} tagged ${name.trim()}.`);
                setName("");
                setValue("");
                again();
              }, notifyError);
            }}
          >
            <input
              aria-label="Tag"
              placeholder="Tag"
              required
              value={name}
              onInput={(event) => setName(event.currentTarget.value)}
            />
            <input
              aria-label="Value"
              placeholder="Value (true)"
              value={value}
              onInput={(event) => setValue(event.currentTarget.value)}
            />
            <button type="submit" class="button">
              Add
            </button>
          </form>
          {[...names].sort().map((tag) => (
            <MenuItem
              key={tag}
              onClick={() => {
                close();
                forEach(selected, (trial) => call("remove_trial_tags", { trial, names: [tag] })).then(() => {
                  notify(`The tag ${tag} is removed.`);
                  again();
                }, notifyError);
              }}
            >
              <Icon name="close" /> Remove {tag}
            </MenuItem>
          ))}
        </>
      )}
    </Menu>
  );
}

/** What a person means by the text of a tag's value: a number, a truth value, or the text. */
function tagValue(text: string): string | number | boolean {
  const trimmed = text.trim();
  if (trimmed === "" || trimmed === "true") return true;
  if (trimmed === "false") return false;
  const number = Number(trimmed);
  return Number.isFinite(number) ? number : trimmed;
}

function GroupMenu({ selected }: { selected: readonly TrialId[] }): JSX.Element | null {
  const [project] = useProject();
  const [name, setName] = useState("");
  const key = project === null ? null : `groups ${project}`;
  const { data, again } = useFetch(key, (signal) =>
    call("fetch_groups", { query: { project_id: project }, fields: ["name"] }, signal),
  );
  // A group belongs to a project.
  if (project === null) return null;
  const put = async (group: string) => {
    await forEach(selected, (trial) => call("add_group_trial", { group, trial }));
    notify(`${plural(selected.length, "run")} put into the group.`);
  };
  return (
    <Menu
      button={
        <>
          <Icon name="group" />
          Group
        </>
      }
      panelClass="views-panel"
    >
      {(close) => (
        <>
          {data?.map((group) => (
            <MenuItem
              key={group.uid}
              onClick={() => {
                close();
                put(group.uid).catch(notifyError);
              }}
            >
              {group.name ?? group.uid}
            </MenuItem>
          ))}
          <form
            class="inline-form"
            onSubmit={(event) => {
              event.preventDefault();
              close();
              call("new_trial_group", { group: { name: name.trim(), project_id: project } })
                .then((group) => put(group.uid))
                .then(again)
                .catch(notifyError);
            }}
          >
            <input
              aria-label="Name of a new group"
              placeholder="New group"
              required
              value={name}
              onInput={(event) => setName(event.currentTarget.value)}
            />
            <button type="submit" class="button">
              Make
            </button>
          </form>
        </>
      )}
    </Menu>
  );
}

function DeleteDialog(props: {
  selected: readonly TrialId[];
  onClose: () => void;
  onDone: () => void;
}): JSX.Element {
  const { selected } = props;
  const [busy, setBusy] = useState(false);
  const { data } = useFetch(`deleting ${list.write(selected)}`, (signal) =>
    call("fetch_rows", { trials: [...selected], columns: ["name", "uid", "status"] }, signal),
  );
  const running = (data?.columns[2] ?? []).filter((status) => status === "Running").length;
  const names = (data?.columns[0] ?? []).map((name, at) => String(name ?? data?.columns[1]?.[at] ?? ""));
  return (
    <Dialog title={`Delete ${plural(selected.length, "run")}?`} onClose={props.onClose}>
      <p>
        {names.slice(0, 5).join(", ")}
        {names.length > 5 && ` and ${formatCount(names.length - 5)} more`} with all metrics, media and files.
        This cannot be undone; to put runs out of sight, hide them.
      </p>
      {running > 0 && (
        <p class="fault">
          {running === 1
            ? "One of them is still written by a process"
            : `${running} of them are still written by processes`}
          : what comes from it is lost.
        </p>
      )}
      <div class="dialog-actions">
        <button type="button" class="button" onClick={props.onClose}>
          Cancel
        </button>
        <button
          type="button"
          class="button danger"
          disabled={busy}
          onClick={() => {
            setBusy(true);
            forEach(selected, (trial) => call("delete_trial", { trial, force: running > 0 })).then(
              () => {
                notify(`${plural(selected.length, "run")} deleted.`);
                props.onDone();
              },
              (error) => {
                notifyError(error);
                props.onDone();
              },
            );
          }}
        >
          Delete
        </button>
      </div>
    </Dialog>
  );
}
