// The frame around every view: project, filter and runs on the left; tabs, connection, theme and user above.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { call, logout } from "../api";
import { hasText } from "../find";
import { formatAge } from "../format";
import { useFetch, useLive, useLiveStatus, useNow, useSession } from "../hooks";
import { useKeys } from "../keys";
import { live } from "../live";
import { DATABASE, getLocation, go, optional, useLocation, useProject, type View } from "../state";
import { getTheme, setTheme, type Theme } from "../theme";
import { DatabaseMenu } from "./databases";
import { FilterBox } from "./filter";
import { Help } from "./help";
import { Icon } from "./icons";
import { Link } from "./link";
import { Menu, MenuItem } from "./menu";
import { RunList } from "./runlist";
import { SearchField } from "./search";
import { Banner, Toasts } from "./toasts";
import { ViewsMenu } from "./viewsmenu";

const TABS: readonly [View, string, string][] = [
  ["runs", "Runs", "r"],
  ["charts", "Charts", "c"],
  ["compare", "Compare", "v"],
  ["parallel", "Parallel", "p"],
  ["media", "Media", "m"],
  ["graph", "Graph", "d"],
];
const SIDE = "track.side";
const NARROW = "(max-width: 760px)";

/** The frame, with a view inside. */
export function Frame({ children }: { children: ComponentChildren }): JSX.Element {
  const { view } = useLocation();
  const [help, setHelp] = useState(false);
  const [side, setSide] = useState(
    () => !window.matchMedia(NARROW).matches && localStorage.getItem(SIDE) !== "shut",
  );
  const toggle = () => {
    if (!window.matchMedia(NARROW).matches) localStorage.setItem(SIDE, side ? "shut" : "open");
    setSide(!side);
  };
  useKeys([
    ...TABS.map(([name, label, key]) => ({ keys: `g ${key}`, label: `Go to ${label}`, run: () => go(name) })),
    { keys: "g h", label: "Go to all projects", run: () => go("home") },
    {
      keys: ".",
      label: "Pause or go on with live changes",
      run: () => live.setPaused(!live.status().paused),
    },
    { keys: "\\", label: "Open or shut the left column", run: toggle },
    { keys: "?", label: "Show these keys", run: () => setHelp(true) },
  ]);
  const home = view === "home";
  const [project] = useProject();
  const title = TABS.find(([name]) => name === view)?.[1] ?? (home ? "All projects" : "Run");
  useEffect(() => {
    document.title = [title, home ? null : project, "Track"].filter((part) => part !== null).join(" · ");
  }, [title, home, project]);
  const tabs = useRef<HTMLElement>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: where the window is narrow, the tab of a new view may be out of sight
  useEffect(() => {
    tabs.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [view]);
  const shown = side && !home;
  return (
    <div class={`frame${shown ? " with-side" : ""}`}>
      <header class="top">
        {!home && (
          <button
            type="button"
            class="quiet"
            aria-label={side ? "Shut the left column" : "Open the left column"}
            aria-expanded={side}
            aria-controls="side"
            onClick={toggle}
          >
            <Icon name="side" />
          </button>
        )}
        <Link class="brand" view="home" aria-label="Track: all projects">
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M1.500 4c3.500 0 3.500 8 7 8s3.500-5 6-7" />
          </svg>
          <span>Track</span>
        </Link>
        <nav class="tabs" aria-label="Views" ref={tabs}>
          {!home &&
            TABS.map(([name, label]) => (
              <Link key={name} view={name} aria-current={name === view ? "page" : undefined}>
                {label}
              </Link>
            ))}
        </nav>
        <div class="tools">
          <DatabaseMenu />
          <LiveDot />
          <ThemeMenu />
          <UserMenu onHelp={() => setHelp(true)} />
        </div>
      </header>
      {shown && (
        <>
          <button type="button" class="veil" aria-label="Shut the left column" onClick={toggle} />
          <aside id="side" class="side" aria-label="Project, filter and runs">
            <div class="side-head">
              <ProjectMenu />
              <ViewsMenu />
            </div>
            <FilterBox />
            <RunList />
          </aside>
        </>
      )}
      <main class={`view view-${view}`} id="view">
        {view !== "run" && <h1 class="unseen">{title}</h1>}
        <ConnectionBanner />
        {children}
      </main>
      <Toasts />
      {help && <Help onClose={() => setHelp(false)} />}
    </div>
  );
}

function LiveDot(): JSX.Element {
  const status = useLiveStatus();
  const now = useNow();
  const age = status.changed === null ? null : formatAge(now - status.changed / 1000);
  const [kind, label] = status.paused
    ? ["paused", "Paused"]
    : status.connected
      ? ["live", "Live"]
      : ["away", "Not connected"];
  return (
    <button
      type="button"
      class={`quiet live ${kind}`}
      aria-pressed={status.paused}
      title={`${label}${age === null ? "" : `; the last change came ${age === "now" ? "just now" : `${age} ago`}`}. Click to ${status.paused ? "go on" : "pause"} (.)`}
      onClick={() => live.setPaused(!status.paused)}
    >
      {status.paused ? <Icon name="pause" /> : <i class="dot" />}
      <span class="live-label">{label}</span>
      {age !== null && <span class="age">{age}</span>}
    </button>
  );
}

function ConnectionBanner(): JSX.Element | null {
  const { connected, heard, error, fault } = useLiveStatus();
  const now = useNow();
  const lost = !connected && error !== null;
  useEffect(() => {
    document.documentElement.classList.toggle("stale", lost);
  }, [lost]);
  if (!lost) return fault === null ? null : <Banner kind="error">{fault}</Banner>;
  return (
    <Banner>
      {heard === null
        ? "The server cannot be reached."
        : `The server cannot be reached: what is shown is ${formatAge(now - heard / 1000)} old.`}{" "}
      <button type="button" class="link" onClick={() => live.retry()}>
        Try now
      </button>
    </Banner>
  );
}

const THEMES: readonly [Theme, string, "system" | "sun" | "moon"][] = [
  ["system", "As the system", "system"],
  ["light", "Light", "sun"],
  ["dark", "Dark", "moon"],
];

function ThemeMenu(): JSX.Element {
  const [theme, choose] = useState(getTheme());
  const icon = THEMES.find(([name]) => name === theme)?.[2] ?? "system";
  return (
    <Menu class="quiet" label="Theme" button={<Icon name={icon} />}>
      {(close) =>
        THEMES.map(([name, label, symbol]) => (
          <MenuItem
            key={name}
            checked={name === theme}
            onClick={() => {
              setTheme(name);
              choose(name);
              close();
            }}
          >
            <Icon name={symbol} />
            {label}
          </MenuItem>
        ))
      }
    </Menu>
  );
}

function UserMenu({ onHelp }: { onHelp: () => void }): JSX.Element {
  const session = useSession();
  return (
    <Menu class="quiet" label="Session" button={<Icon name="user" />}>
      {(close) => (
        <>
          <dl class="facts">
            <dt>User</dt>
            <dd>
              {session.user ?? "this machine's"} <span class="hint">{session.role}</span>
            </dd>
            <dt>Store</dt>
            <dd class="code">{session.store}</dd>
            <dt>Version</dt>
            <dd>{session.version}</dd>
          </dl>
          <MenuItem
            onClick={() => {
              close();
              onHelp();
            }}
          >
            <Icon name="help" />
            Keys <kbd>?</kbd>
          </MenuItem>
          {session.user !== null && (
            <MenuItem onClick={() => void logout().then(() => location.reload())}>
              <Icon name="close" />
              Log out
            </MenuItem>
          )}
        </>
      )}
    </Menu>
  );
}

/** Parameters that stay when the project changes. */
const KEPT = new Set([DATABASE, "x", "smooth", "draw"]);

function ProjectMenu(): JSX.Element {
  const [project] = useProject();
  const { data, again } = useFetch("projects", (signal) =>
    call("fetch_projects", { query: {}, fields: ["name"] }, signal),
  );
  useLive((change) => {
    if (change.reset || change.projects.size > 0) again();
  });
  const [search, setSearch] = useState("");
  const name = (uid: string | null) =>
    uid === null ? "All projects" : (data?.find((one) => one.uid === uid)?.name ?? uid);
  const found = (data ?? []).filter((one) => hasText(one.name ?? one.uid, search));
  return (
    <Menu
      class="project-button"
      panelClass="projects-panel"
      label={`Project: ${name(project)}`}
      button={
        <>
          <span>{data === null && project !== null ? " " : name(project)}</span>
          <Icon name="down" />
        </>
      }
    >
      {(close) => {
        // Another project has other columns, runs and charts: only the view stays.
        const choose = (uid: string | null) => {
          close();
          setSearch("");
          const { view, params } = getLocation();
          const left = [...params.keys()].filter((param) => !KEPT.has(param));
          go(view === "run" ? "runs" : view, {
            ...Object.fromEntries(left.map((param) => [param, null])),
            project: optional.write(uid),
          });
        };
        return (
          <>
            {(data?.length ?? 0) > 8 && (
              <SearchField label="Search projects" value={search} onChange={setSearch} />
            )}
            <MenuItem checked={project === null} onClick={() => choose(null)}>
              All projects
            </MenuItem>
            {found.map((one) => (
              <MenuItem key={one.uid} checked={one.uid === project} onClick={() => choose(one.uid)}>
                {one.name ?? one.uid}
              </MenuItem>
            ))}
          </>
        );
      }}
    </Menu>
  );
}
