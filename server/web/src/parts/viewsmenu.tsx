// The menu of saved views, which all views of a project have.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { BASE } from "../api";
import { useMayWrite, useSession } from "../hooks";
import { getLocation, useProject, wholeAddress } from "../state";
import { deleteView, linkTo, openView, saveView, useSavedViews } from "../views";
import { Icon } from "./icons";
import { Menu, MenuItem } from "./menu";
import { notify, notifyError } from "./toasts";

/** Saved views: go to one, save the present one, copy a link. */
export function ViewsMenu(): JSX.Element {
  const [project] = useProject();
  const { user } = useSession();
  const mayWrite = useMayWrite() || project === null;
  const { views, again } = useSavedViews(project);
  const [name, setName] = useState("");
  const copy = (text: string) =>
    navigator.clipboard.writeText(text).then(() => notify("The link is in the clipboard."), notifyError);
  return (
    <Menu class="quiet" label="Views" button={<Icon name="bookmark" />} panelClass="views-panel">
      {(close) => (
        <>
          {views.length === 0 && <p class="hint menu-note">No view of this project was saved yet.</p>}
          {views.map((view) => (
            <div class="view-item" key={view.id}>
              <MenuItem
                onClick={() => {
                  close();
                  openView(view);
                }}
              >
                {view.name} <span class="hint">{view.view}</span>
              </MenuItem>
              {project !== null && (
                <button
                  type="button"
                  class="quiet"
                  aria-label={`Copy a link to ${view.name}`}
                  title="Copy a link"
                  onClick={() => void copy(linkTo(project, view))}
                >
                  <Icon name="link" />
                </button>
              )}
              {mayWrite && (
                <button
                  type="button"
                  class="quiet"
                  aria-label={`Delete the view ${view.name}`}
                  title="Delete"
                  onClick={() => void deleteView(project, view.id).then(again, notifyError)}
                >
                  <Icon name="trash" />
                </button>
              )}
            </div>
          ))}
          {mayWrite && (
            <form
              class="inline-form"
              onSubmit={(event) => {
                event.preventDefault();
                const wanted = name.trim();
                if (wanted === "") return;
                saveView(project, wanted, user).then(() => {
                  setName("");
                  again();
                  notify(`“${wanted}” is saved.`);
                }, notifyError);
              }}
            >
              <input
                aria-label="Name of the view"
                placeholder="Save this view as …"
                value={name}
                onInput={(event) => setName(event.currentTarget.value)}
              />
              <button type="submit" class="button" disabled={name.trim() === ""}>
                Save
              </button>
            </form>
          )}
          <MenuItem
            onClick={() => {
              close();
              void copy(BASE + wholeAddress(getLocation()));
            }}
          >
            <Icon name="link" /> Copy a link to what is seen
          </MenuItem>
        </>
      )}
    </Menu>
  );
}
