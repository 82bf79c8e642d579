// Calls of the board's HTTP service (`/api/v1`), typed. Everything the pages read or change passes through here.
import { parseJson, writeJson } from "./json";

/** A trial's id: 32 hex digits. */
export type TrialId = string;
/**
 * A value of a trial: what JSON has. A number that is not finite arrives as the text "NaN", "Infinity" or "-Infinity",
 * an integer beyond 2^53 is a bigint.
 */
export type Value = null | boolean | number | bigint | string | Value[] | { [key: string]: Value };
/** A query document, as `compileFilter` answers it. */
export type Query = { [key: string]: Value };
export type SeriesKind = "metric" | "chrono" | string;
export type SeriesKey = [trial: TrialId, kind: SeriesKind, name: string];
export type Axis = "step" | "time" | "relative" | "ordinal";

export interface Named {
  uid: string;
  name: string | null;
  description: string | null;
  metadata: { [key: string]: Value };
}
export interface Project extends Named {
  groups?: string[];
  trials?: string[];
}
export interface Group extends Named {
  project_id: string | null;
  trials?: string[];
}
export interface Statistics {
  [statistic: string]: Value;
}
export interface Trial extends Named {
  id: TrialId;
  hash: string;
  revision: number;
  version: string | null;
  tags: { [key: string]: Value };
  parameters: { [key: string]: Value };
  errors: string[];
  project_id: string | null;
  group_id: string | null;
  status: { value: number; name: string };
  metrics: { [name: string]: Statistics };
  chronos: { [name: string]: Statistics };
  media: { [kind: string]: Value };
  created: number | null;
  started: number | null;
  ended: number | null;
}
export interface Table {
  total: number;
  ids: TrialId[];
  /** One list per column asked for; a missing value is null. */
  columns: Value[][];
}
export interface Field {
  name: string;
  count: number;
  numbers: number;
  texts: number;
  booleans: number;
  others: number;
  nonfinite: number;
  min: number | bigint | null;
  max: number | bigint | null;
  /** Up to 20 distinct values. */
  values: Value[];
  differs: boolean;
}
export interface Fields {
  total: number;
  fields: Field[];
  series: { kind: SeriesKind; name: string; trials: number }[];
  statuses: { [status: string]: number };
  /** There are more than are described. */
  more: boolean;
}
export interface Measure {
  count: number;
  min: number | bigint | null;
  max: number | bigint | null;
  mean: number | null;
  sd: number | null;
}
export interface GroupRow {
  by: Value[];
  count: number;
  measures: Measure[];
}
export interface Changes {
  cursor: string;
  known: boolean;
  more: boolean;
  trials: TrialId[];
  deleted: TrialId[];
  groups: string[];
  projects: string[];
}
interface Page {
  query: Query;
  start?: number;
  limit?: number | null;
  order?: string[] | null;
  fields?: string[] | null;
}

/** Methods of the store that answer JSON: their arguments and answers. */
export interface Methods {
  fetch_projects: [Page, Project[]];
  fetch_groups: [Page, Group[]];
  fetch_trials: [Page, Trial[]];
  get_trial: [{ trial: TrialId }, Trial[]];
  fetch_table: [
    { query: Query; columns: string[]; order?: string[] | null; start?: number; limit?: number },
    Table,
  ];
  fetch_rows: [{ trials: TrialId[]; columns: string[] }, Omit<Table, "total">];
  fetch_fields: [{ query: Query }, Fields];
  fetch_groups_of: [{ query: Query; by: string[]; measures: string[]; limit: number }, GroupRow[]];
  fetch_changes: [{ cursor?: string | null; limit?: number }, Changes];
  fetch_metrics: [
    { trial: TrialId; name: string; kind?: SeriesKind; start?: number; limit?: number },
    { steps: Value[]; times: Value[]; values: Value[] },
  ];
  fetch_rejected: [{ trial?: TrialId | null; start?: number; limit?: number }, { [key: string]: Value }[]];
  rename_trial: [{ trial: TrialId; name?: string | null; description?: string | null }, null];
  add_trial_tags: [{ trial: TrialId; tags: { [name: string]: Value } }, null];
  remove_trial_tags: [{ trial: TrialId; names: string[] }, null];
  log_trial_metadata: [{ trial: TrialId; metadata: { [name: string]: Value } }, null];
  set_trial_status: [{ trial: TrialId; status: { value: number; name: string } }, null];
  delete_trial: [{ trial: TrialId; force?: boolean }, boolean];
  add_group_trial: [{ group: string; trial: TrialId }, null];
  new_project: [{ project: { [key: string]: Value } }, Project];
  new_trial_group: [{ group: { [key: string]: Value } }, Group];
  set_project_metadata: [{ project: string; metadata: { [name: string]: Value } }, null];
  set_group_metadata: [{ group: string; metadata: { [name: string]: Value } }, null];
}

/** Answers of `fetch_columns`: arrays of one series, one element per column of the window. */
export interface Columns {
  exact: boolean;
  axis: Axis;
  /** Points in the window, and in the whole series. */
  count: number;
  total: number;
  x: Float64Array;
  step: Float64Array;
  time: Float64Array;
  last: Float64Array;
  min: Float64Array;
  max: Float64Array;
  mean: Float64Array;
  count_of: Float64Array;
  nonfinite: Float64Array;
  odd: Float64Array;
}
/** Answers of `fetch_tails`: points of one series from `start` on. */
export interface Tail {
  start: number;
  total: number;
  steps: Float64Array;
  times: Float64Array;
  values: Float64Array;
}
/** Answers of `fetch_grouped_columns`: one group, one element for each column in which it has a finite value. */
export interface GroupedColumns {
  by: Value[];
  axis: Axis;
  /** How many take part, have no place on this axis, and cannot be read. */
  series: number;
  left_out: number;
  faults: number;
  /** Of each column with values that are not finite: x, step, one of them as JSON has it, and how many. */
  odd: [x: number, step: number | string, value: string, count: number][];
  x: Float64Array;
  /** How many series take part there, and how many points they have. */
  runs: Float64Array;
  count_of: Float64Array;
  mean: Float64Array;
  median: Float64Array;
  sd: Float64Array;
  min: Float64Array;
  max: Float64Array;
}
/** A series that cannot be read; others of the same answer can. */
export interface Damaged {
  error: string;
}
/** Methods that answer numbers in binary; null is a series that is not there. */
export interface BinaryMethods {
  fetch_columns: [
    {
      series: SeriesKey[];
      axis: Axis;
      low?: number | null;
      high?: number | null;
      width: number;
    },
    (Columns | Damaged | null)[],
  ];
  fetch_grouped_columns: [
    {
      query: Query;
      by: string[];
      name: string;
      kind: SeriesKind;
      axis: Axis;
      low?: number | null;
      high?: number | null;
      width: number;
      limit: number;
    },
    (GroupedColumns | Damaged)[],
  ];
  fetch_tails: [
    {
      tails: [trial: TrialId, kind: SeriesKind, name: string, start: number][];
      limit: number;
    },
    (Tail | Damaged | null)[],
  ];
}

export interface Session {
  user: string | null;
  role: "reader" | "writer" | "admin" | null;
  /** The store's URI, for people. */
  store: string;
  version: string;
  /** Whether a login is needed and missing. */
  login: boolean;
  /** What a script sets as TRACK_URI. */
  uri: string;
  /** The database that this page shows, of those that there are; null where there is one store alone. */
  database: string | null;
  databases: string[];
  /** Why the database cannot be shown. */
  fault: string | null;
}
export type Credentials =
  | { code: string }
  | { name: string; token: string }
  | { uri: string }
  | Record<string, never>;

/** The service refused a request. */
export class ApiError extends Error {
  override name = "ApiError";
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    /** Of a filter: where in the text the fault is, and what was probably meant. */
    readonly at: number | null = null,
    readonly suggestion: string | null = null,
  ) {
    super(message);
  }
}

/** No answer came: the server is down or cannot be reached. */
export class Unreachable extends Error {
  override name = "Unreachable";
}

/** Where the service is: the folder above that of this script, so that it works under a path behind a proxy. */
export const BASE: string = new URL("..", import.meta.url).href;
/** Whether this page is in a frame of somebody else's, such as a notebook: then it only reads. */
export const EMBEDDED: boolean =
  typeof location !== "undefined" && location.pathname === `${new URL(BASE).pathname}embed`;
/** A frame has a session of its own. */
const KEY = EMBEDDED ? "track.embed-key" : "track.key";
const LOGIN = "api/v1/login";

let database: string | null = null;
/** The database that requests are about, where the service has several; null for the one that it shows by itself. */
export const getDatabase = (): string | null => database;
/** Have all requests be about a database from now on. */
export function setDatabase(name: string | null): void {
  database = name;
}

let loggedOut: () => void = () => {};
/** Have `listener` called when the server asks for a (new) login. */
export function onLoggedOut(listener: () => void): void {
  loggedOut = listener;
}

let renewal: Promise<boolean> | null = null;
/** On one's own machine a session that has ended, or was of a server before, begins anew without a form. */
function renew(): Promise<boolean> {
  renewal ??= login({})
    .then(
      () => true,
      () => false,
    )
    .finally(() => {
      renewal = null;
    });
  return renewal;
}

/** Fetch a path of the service with this origin's key; throws ApiError and Unreachable. */
export async function request(path: string, init: RequestInit = {}, renewing = true): Promise<Response> {
  const headers = new Headers(init.headers);
  const key = localStorage.getItem(KEY);
  if (key !== null) headers.set("X-Track-Key", key);
  if (database !== null) headers.set("X-Track-Database", encodeURIComponent(database));
  let response: Response;
  try {
    response = await fetch(new URL(path, BASE), {
      ...init,
      headers,
      credentials: "same-origin",
      cache: "no-store",
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Unreachable("The server cannot be reached.");
  }
  if (response.ok) return response;
  const fault = await faultOf(response);
  if (fault.status === 401 && path !== LOGIN) {
    if (renewing && (await renew())) return request(path, init, false);
    loggedOut();
  }
  throw fault;
}

async function faultOf(response: Response): Promise<ApiError> {
  const text = await response.text().catch(() => "");
  try {
    const { code, message, at, suggestion } = parseJson(text).error;
    return new ApiError(response.status, String(code), String(message), at ?? null, suggestion ?? null);
  } catch {
    return new ApiError(response.status, "http", text || `The server answered ${response.status}.`);
  }
}

function post(path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  return request(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: writeJson(body),
    signal: signal ?? null,
  });
}

const documentOf = async (response: Response) => parseJson(await response.text());

/** Call a method of the store. */
export async function call<M extends keyof Methods>(
  method: M,
  args: Methods[M][0],
  signal?: AbortSignal,
): Promise<Methods[M][1]> {
  return documentOf(await post(`api/v1/call/${method}`, args, signal));
}

/** Call a method that answers arrays of numbers. */
export async function callBinary<M extends keyof BinaryMethods>(
  method: M,
  args: BinaryMethods[M][0],
  signal?: AbortSignal,
): Promise<BinaryMethods[M][1]> {
  const answer = await post(`api/v1/call/${method}`, args, signal);
  return decodeSeries(await answer.arrayBuffer()) as BinaryMethods[M][1];
}

/** A column of its own; `[name]` of one number for all, `[name, other]` with those of another one before it. */
type ArrayName = string | [name: string, other?: string];

interface Header {
  series: (null | { error: string } | { n: number; arrays: ArrayName[]; [scalar: string]: unknown })[];
}

/**
 * Read `application/x-track-columns`: a little-endian length, a JSON header of that length, zeros up to a multiple
 * of 8, then float64 arrays back to back, of which the result holds views.
 */
export function decodeSeries(body: ArrayBuffer): (Record<string, unknown> | null)[] {
  const length = new DataView(body).getUint32(0, true);
  const header: Header = parseJson(new TextDecoder().decode(new Uint8Array(body, 4, length)));
  let offset = Math.ceil((4 + length) / 8) * 8;
  return header.series.map((item) => {
    if (item === null || !("arrays" in item)) return item;
    const { n, arrays, ...scalars } = item;
    const decoded: Record<string, unknown> = scalars;
    for (const column of arrays) {
      if (typeof column === "string") {
        decoded[column] = new Float64Array(body, offset, n);
        offset += n * 8;
        continue;
      }
      const [name, other] = column;
      if (other !== undefined) decoded[name] = decoded[other];
      else {
        decoded[name] = new Float64Array(n).fill(new Float64Array(body, offset, 1)[0] as number);
        offset += 8;
      }
    }
    return decoded;
  });
}

/** Whether a series of a binary answer is there and whole. */
export function isWhole<T extends object>(series: T | Damaged | null): series is T {
  return series !== null && !("error" in series);
}

/** The query document of a filter as a person types it; an ApiError tells the place of a fault. */
export async function compileFilter(
  filter: string,
  project: string | null,
  signal?: AbortSignal,
): Promise<Query> {
  return (await documentOf(await post("api/v1/filter", { filter, project }, signal))).query;
}

/** Download a blob. */
export async function fetchBlob(digest: string, signal?: AbortSignal): Promise<Blob> {
  return (await request(`api/v1/blob/${encodeURIComponent(digest)}`, { signal: signal ?? null })).blob();
}

/** Who is logged in, to which store. */
export async function fetchSession(): Promise<Session> {
  return documentOf(await request("api/v1/session"));
}

/** Log in; the key that is answered stays in this origin's storage, beside the cookie. */
export async function login(credentials: Credentials): Promise<void> {
  const embed = EMBEDDED ? { embed: true } : {};
  const { key } = await documentOf(await post(LOGIN, { ...credentials, ...embed }));
  localStorage.setItem(KEY, key);
}

/** End the session. */
export async function logout(): Promise<void> {
  await post("api/v1/logout", {});
  localStorage.removeItem(KEY);
}

/** Whether this browser has a key of a session. */
export function hasKey(): boolean {
  return localStorage.getItem(KEY) !== null;
}
