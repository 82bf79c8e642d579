// What has changed in the store, as it happens. One tab of this origin reads the server's events and passes them on to
// the others: a browser allows six connections to a host, and each stream takes one.
import { ApiError, getDatabase, request } from "./api";
import { parseJson } from "./json";

/** What has changed since the last delivery. */
export interface Change {
  /** The past is unknown: fetch everything again. */
  reset: boolean;
  trials: Set<string>;
  deleted: Set<string>;
  groups: Set<string>;
  projects: Set<string>;
}

export interface LiveStatus {
  connected: boolean;
  paused: boolean;
  /** When the last event came, or the connection was made (ms since the epoch); null before the first. */
  heard: number | null;
  /** When the last change came (ms since the epoch). */
  changed: number | null;
  /** The sentence of the last failure while not connected. */
  error: string | null;
  /** Why the store takes no writes at the moment, in the server's words. */
  fault: string | null;
}

interface Message {
  type: "changed" | "reset" | "alive" | "failed" | "fault" | "hello";
  id: string | null;
  data: { trials?: string[]; deleted?: string[]; groups?: string[]; projects?: string[] };
  error?: string | null;
}

/** Seconds between attempts to connect; the last one goes on. */
export const BACK_OFF_S: readonly number[] = [1, 2, 5, 10];
/** Without a sign of life for this long the stream counts as broken: the server writes one every 10 s. */
const SILENCE_MS = 25_000;
/** As long as the first views wait for the stream. */
const OPENING_MS = 400;
/** Tabs that show the same database share a stream. */
const nameOfStream = () => `track.live ${getDatabase() ?? ""}`;

export function emptyChange(): Change {
  return { reset: false, trials: new Set(), deleted: new Set(), groups: new Set(), projects: new Set() };
}

/** Add what an event says to what is pending. */
export function mergeChange(into: Change, message: Pick<Message, "type" | "data">): void {
  if (message.type === "reset") into.reset = true;
  for (const id of message.data.trials ?? []) into.trials.add(id);
  for (const id of message.data.deleted ?? []) {
    into.deleted.add(id);
    into.trials.delete(id);
  }
  for (const id of message.data.groups ?? []) into.groups.add(id);
  for (const id of message.data.projects ?? []) into.projects.add(id);
}

export interface ServerEvent {
  event: string;
  id: string | null;
  data: string;
}

/** Splits the text of an event stream, which comes in pieces of any length, into events; null is a sign of life. */
export class EventParser {
  private rest = "";
  private event = "";
  private id: string | null = null;
  private hasId = false;
  private data: string[] = [];

  feed(text: string): (ServerEvent | null)[] {
    const all = this.rest + text;
    // A carriage return at the end may be the first half of a line's end.
    const held = all.endsWith("\r") ? 1 : 0;
    const lines = all.slice(0, all.length - held).split(/\r\n|\n|\r/);
    this.rest = (lines.pop() ?? "") + all.slice(all.length - held);
    const found: (ServerEvent | null)[] = [];
    for (const line of lines) {
      if (line === "") {
        // One with an id alone tells where the stream begins.
        if (this.data.length > 0 || this.hasId) {
          const event = this.data.length > 0 ? this.event || "message" : "";
          found.push({ event, id: this.id, data: this.data.join("\n") });
        }
        this.hasId = false;
        this.event = "";
        this.data = [];
      } else if (line.startsWith(":")) {
        found.push(null);
      } else {
        this.field(line);
      }
    }
    return found;
  }

  private field(line: string): void {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.event = value;
    else if (name === "id") {
      this.id = value;
      this.hasId = true;
    } else if (name === "data") this.data.push(value);
  }
}

type Listener = (change: Change) => void;

class Live {
  private readonly listeners = new Set<Listener>();
  private readonly watchers = new Set<() => void>();
  private channel: BroadcastChannel | null = null;
  private pending = emptyChange();
  private hasPending = false;
  private lastId: string | null = null;
  private leads = false;
  /** The views have begun to fetch. */
  private released = false;
  private wake: () => void = () => {};
  private current: LiveStatus = {
    connected: false,
    paused: false,
    heard: null,
    changed: null,
    error: null,
    fault: null,
  };

  /**
   * Begin to listen, after the login. What is fetched when this has resolved misses no change: the stream is open, or,
   * if that takes long, all is fetched again when it is.
   */
  start(): Promise<void> {
    if (this.channel !== null) return Promise.resolve();
    const opened = new Promise<void>((resolve) => {
      const stop = this.watch(() => {
        if (!this.current.connected) return;
        stop();
        resolve();
      });
    });
    const waited = new Promise<void>((resolve) => setTimeout(resolve, OPENING_MS));
    const name = nameOfStream();
    this.channel = new BroadcastChannel(name);
    this.channel.onmessage = ({ data }: MessageEvent<Message>) => this.receive(data);
    this.channel.postMessage({ type: "hello", id: null, data: {} });
    document.addEventListener("visibilitychange", () => {
      this.wake();
      this.deliver();
    });
    window.addEventListener("online", () => this.wake());
    setInterval(() => this.watchSilence(), 5_000);
    const lead = async () => {
      for (let attempt = 0; ; attempt++) {
        const began = Date.now();
        try {
          await this.readStream();
        } catch (error) {
          this.send({ type: "failed", id: null, data: {}, error: (error as Error).message });
          // A session that ended does not come back by asking again: the login form starts anew.
          if (error instanceof ApiError && error.status === 401) attempt = BACK_OFF_S.length;
        }
        if (Date.now() - began > 60_000) attempt = 0;
        await this.pause(1_000 * (BACK_OFF_S[Math.min(attempt, BACK_OFF_S.length - 1)] ?? 10));
      }
    };
    // Held until this tab is closed; then one of those that wait takes over.
    if ("locks" in navigator) void navigator.locks.request(name, lead);
    else void lead();
    return Promise.race([opened, waited]).then(() => {
      this.released = true;
    });
  }

  /** Have `listener` called with each change while the page is seen and not paused; returns how to stop. */
  subscribe(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Have `watcher` called when the status changes; returns how to stop. */
  watch(watcher: () => void): () => void {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  status(): LiveStatus {
    return this.current;
  }

  /** Stop or go on delivering; what came in between is delivered then. */
  setPaused(paused: boolean): void {
    this.update({ paused });
    this.deliver();
  }

  /** Have everything fetched again, such as after a new login. */
  refresh(): void {
    mergeChange(this.pending, { type: "reset", data: {} });
    this.hasPending = true;
    this.deliver();
    this.wake();
  }

  /** Try again now instead of waiting. */
  retry(): void {
    this.wake();
  }

  private async readStream(): Promise<void> {
    const abort = new AbortController();
    const headers: Record<string, string> = { Accept: "text/event-stream" };
    if (this.lastId !== null) headers["Last-Event-ID"] = this.lastId;
    let timer = setTimeout(() => abort.abort(), SILENCE_MS);
    try {
      const response = await request("api/v1/events", { headers, signal: abort.signal });
      this.leads = true;
      // Without a place to replay from, what was fetched before this moment may be old.
      const late = this.lastId === null && this.released;
      this.send({ type: late ? "reset" : "alive", id: null, data: {} });
      // A server that was started again may have none any more.
      this.send({ type: "fault", id: null, data: {}, error: null });
      const parser = new EventParser();
      const decoder = new TextDecoder();
      const reader = response.body?.getReader();
      while (reader !== undefined) {
        const { done, value } = await reader.read();
        if (done) break;
        clearTimeout(timer);
        timer = setTimeout(() => abort.abort(), SILENCE_MS);
        for (const event of parser.feed(decoder.decode(value, { stream: true }))) {
          if (event === null || event.event === "") {
            this.send({ type: "alive", id: event?.id ?? null, data: {} });
          }
          if (event?.event === "fault") {
            this.send({ type: "fault", id: null, data: {}, error: parseJson(event.data).message });
          }
          if (event?.event === "changed" || event?.event === "reset") {
            this.send({ type: event.event, id: event.id, data: parseJson(event.data || "{}") });
          }
        }
      }
    } finally {
      this.leads = false;
      clearTimeout(timer);
      abort.abort();
    }
    throw new Error("The server closed the connection.");
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => {
        clearTimeout(timer);
        this.wake = () => {};
        resolve();
      };
    });
  }

  private send(message: Message): void {
    this.channel?.postMessage(message);
    this.receive(message);
  }

  private receive(message: Message): void {
    if (message.type === "hello") {
      if (!this.leads) return;
      this.channel?.postMessage({ type: "alive", id: this.lastId, data: {} });
      this.channel?.postMessage({ type: "fault", id: null, data: {}, error: this.current.fault });
      return;
    }
    if (message.type === "fault") {
      this.update({ fault: message.error ?? null });
      return;
    }
    if (message.type === "failed") {
      this.update({ connected: false, error: message.error ?? null });
      return;
    }
    const now = Date.now();
    const changed = message.type === "alive" ? this.current.changed : now;
    this.update({ connected: true, heard: now, changed, error: null });
    if (message.id !== null) this.lastId = message.id;
    if (message.type !== "alive") {
      mergeChange(this.pending, message);
      this.hasPending = true;
    }
    this.deliver();
  }

  private deliver(): void {
    if (!this.hasPending || this.current.paused || document.hidden) return;
    const change = this.pending;
    this.pending = emptyChange();
    this.hasPending = false;
    for (const listener of [...this.listeners]) listener(change);
  }

  /** A tab that follows learns of a dead leader, or of a server gone, by silence. */
  private watchSilence(): void {
    const { connected, heard } = this.current;
    if (connected && heard !== null && Date.now() - heard > SILENCE_MS) {
      this.update({ connected: false, error: "Nothing was heard of the server." });
    }
  }

  private update(part: Partial<LiveStatus>): void {
    this.current = { ...this.current, ...part };
    for (const watcher of [...this.watchers]) watcher();
  }
}

export const live = new Live();
