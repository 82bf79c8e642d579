// Saved views: a name for a state of the page. Those of a project are in its metadata, for everybody; those of all
// projects are in the browser.
import { BASE, call, type Value } from "./api";
import { useFetch, useLive } from "./hooks";
import { parseJson, writeJson } from "./json";
import {
  DATABASE,
  escapeText,
  formatLocation,
  getLocation,
  go,
  type Location,
  optional,
  VIEWS,
} from "./state";

export interface SavedView {
  id: string;
  name: string;
  view: string;
  /** Parameters as they stand in the address. */
  state: { [param: string]: string };
  user: string | null;
  /** When it was saved, in seconds since the epoch. */
  time: number;
}

const IN_BROWSER = "track.views";
/** What a saved view does not hold: where it is, and what is selected at the moment. */
const NOT_SAVED = new Set([DATABASE, "project", "saved", "sel", "trial"]);

function readViews(value: Value | undefined): SavedView[] {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return [];
  const found: SavedView[] = [];
  for (const [id, one] of Object.entries(value)) {
    if (typeof one !== "object" || one === null || Array.isArray(one)) continue;
    const { name, view, state, user, time } = one;
    if (typeof name !== "string" || typeof state !== "object" || state === null) continue;
    found.push({
      id,
      name,
      view: typeof view === "string" ? view : "runs",
      state: Object.fromEntries(
        Object.entries(state).filter((item): item is [string, string] => typeof item[1] === "string"),
      ),
      user: typeof user === "string" ? user : null,
      time: typeof time === "number" ? time : 0,
    });
  }
  return found.sort((one, other) => one.name.localeCompare(other.name));
}

async function fetchViews(project: string | null, signal?: AbortSignal): Promise<{ [id: string]: Value }> {
  if (project === null) return parseJson(localStorage.getItem(IN_BROWSER) ?? "{}");
  const query = { uid: project };
  const [found] = await call("fetch_projects", { query, fields: ["metadata"] }, signal);
  const views = found?.metadata.views;
  return typeof views === "object" && views !== null && !Array.isArray(views) ? views : {};
}

async function storeViews(project: string | null, views: { [id: string]: Value }): Promise<void> {
  if (project === null) localStorage.setItem(IN_BROWSER, writeJson(views));
  else await call("set_project_metadata", { project, metadata: { views } });
}

/** The saved views of a project. */
export function useSavedViews(project: string | null): { views: SavedView[]; again: () => void } {
  const { data, again } = useFetch(`views ${project}`, async (signal) =>
    readViews(await fetchViews(project, signal)),
  );
  useLive((change) => {
    if (project !== null && (change.reset || change.projects.has(project))) again();
  });
  return { views: data ?? [], again };
}

/** Save the present state under a name; one of the same name is replaced. Answers its id. */
export async function saveView(project: string | null, name: string, user: string | null): Promise<string> {
  const views = await fetchViews(project);
  const same = readViews(views).find((view) => view.name === name);
  const id =
    same?.id ??
    crypto.getRandomValues(new Uint32Array(2)).reduce((text, part) => text + part.toString(36), "");
  const { view, params } = getLocation();
  const state = Object.fromEntries([...params].filter(([param]) => !NOT_SAVED.has(param)));
  await storeViews(project, { ...views, [id]: { name, view, state, user, time: Date.now() / 1000 } });
  return id;
}

/** Forget a saved view. */
export async function deleteView(project: string | null, id: string): Promise<void> {
  const { [id]: _, ...rest } = await fetchViews(project);
  await storeViews(project, rest);
}

/** Go to a saved view. */
export function openView(saved: SavedView): void {
  const view = VIEWS.find((one) => one === saved.view) ?? "runs";
  const patch: { [param: string]: string | null } = {};
  for (const param of getLocation().params.keys()) if (!NOT_SAVED.has(param)) patch[param] = null;
  go(view, { ...patch, ...saved.state, saved: null });
}

/** Put the state of the view that an address names by its id (`saved`) into the address. */
export async function expandSaved(location: Location): Promise<void> {
  const id = location.params.get("saved");
  if (id === undefined) return;
  const project = optional.read(location.params.get("project") ?? null);
  const saved = readViews(await fetchViews(project)).find((view) => view.id === id);
  if (saved !== undefined) {
    const view = VIEWS.find((one) => one === saved.view) ?? "runs";
    go(view, { ...saved.state, saved: null }, true);
  }
}

/** A link to a saved view, to send to somebody. */
export function linkTo(project: string, saved: SavedView): string {
  const view = VIEWS.find((one) => one === saved.view) ?? "runs";
  const kept = [...getLocation().params].filter(([param]) => param === DATABASE);
  const params = new Map([...kept, ["project", escapeText(project)], ["saved", saved.id]]);
  return BASE + formatLocation({ view, params });
}
