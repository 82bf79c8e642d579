// The board: session, address and theme, then the view that the address names.
import { type ComponentType, type JSX, render } from "preact";
import { useCallback, useEffect, useState } from "preact/hooks";
import { ApiError, fetchSession, hasKey, login, onLoggedOut, type Session, setDatabase } from "./api";
import { QueryContext, SessionContext, useCompiledQuery } from "./hooks";
import { startKeys } from "./keys";
import { live } from "./live";
import { Home } from "./pages/home";
import { Runs } from "./pages/runs";
import { DatabaseLinks } from "./parts/databases";
import { Fence } from "./parts/fence";
import { Frame } from "./parts/frame";
import { Login } from "./parts/login";
import { ErrorBox, Loading } from "./parts/states";
import { RunsContext, useFetchedRuns } from "./runs";
import { DATABASE, getLocation, optional, setParams, useLocation, type View } from "./state";
import "./style.css";
import { startTheme } from "./theme";
import { expandSaved } from "./views";

/** Views that are there at first; the others are fetched when they are first shown. */
const READY: Partial<Record<View, ComponentType>> = { home: Home, runs: Runs };
const LATER: Partial<Record<View, () => Promise<{ default: ComponentType }>>> = {
  charts: () => import("./pages/charts"),
  run: () => import("./pages/run"),
  compare: () => import("./pages/compare"),
  parallel: () => import("./pages/parallel"),
  media: () => import("./pages/media"),
  graph: () => import("./pages/graph"),
};

function Page({ view }: { view: View }): JSX.Element {
  const [, arrived] = useState(0);
  const [error, setError] = useState<Error | null>(null);
  const Found = READY[view];
  useEffect(() => {
    setError(null);
    if (READY[view] !== undefined) return;
    LATER[view]?.().then(
      (module) => {
        READY[view] = module.default;
        arrived((count) => count + 1);
      },
      // A server with a newer board no longer has the files of this one.
      () => setError(new Error("The board has changed on the server: load the page again.")),
    );
  }, [view]);
  if (error !== null) return <ErrorBox error={error} again={() => location.reload()} />;
  return Found === undefined ? <Loading /> : <Found />;
}

function Board(): JSX.Element {
  const { view } = useLocation();
  const query = useCompiledQuery();
  const runs = useFetchedRuns(query, view);
  return (
    <QueryContext.Provider value={query}>
      <RunsContext.Provider value={runs}>
        <Frame>
          <Fence key={view}>
            <Page view={view} />
          </Fence>
        </Frame>
      </RunsContext.Provider>
    </QueryContext.Provider>
  );
}

const CODE = /^#login=(.+)$/;

/** Log in by what the address or this machine gives: a code in the fragment, or nothing at all on one's own machine. */
async function openSession(): Promise<Session> {
  setDatabase(optional.read(getLocation().params.get(DATABASE) ?? null));
  const code = CODE.exec(location.hash)?.[1];
  let refused: ApiError | null = null;
  if (code !== undefined) {
    history.replaceState(null, "", location.pathname + location.search);
    await login({ code }).catch((failure: unknown) => {
      if (!(failure instanceof ApiError)) throw failure;
      refused = failure;
    });
  }
  // Whose code was used before may have a session, or need no code here.
  if ((code === undefined || refused !== null) && !hasKey()) await login({}).catch(otherwise(refused));
  let session = await fetchSession();
  if (session.user === null && !session.login) {
    // The key is of a session that has ended, or of a server before.
    await login({}).catch(otherwise(refused));
    session = await fetchSession();
  }
  if (session.login && refused !== null) throw refused;
  if (session.login || session.fault !== null) return session;
  setDatabase(session.database);
  setParams({ [DATABASE]: optional.write(session.database) });
  if (session.user !== null) await Promise.all([expandSaved(getLocation()), live.start()]);
  return session;
}

/** Throws the first refusal, of which a person knows the reason, instead of a later one. */
const otherwise = (first: ApiError | null) => (later: unknown) => {
  throw first ?? later;
};

function App(): JSX.Element {
  const [session, setSession] = useState<Session | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const [asked, setAsked] = useState(false);
  /** Why a code of the address did not log in. */
  const [refusal, setRefusal] = useState<string>();
  const open = useCallback(() => {
    setError(null);
    const withCode = CODE.test(location.hash);
    openSession().then(
      (found) => {
        setSession(found);
        setAsked(found.login);
      },
      (failure: Error) => {
        if (!(failure instanceof ApiError && [401, 403].includes(failure.status))) {
          setError(failure);
          return;
        }
        setRefusal(withCode ? failure.message : undefined);
        setAsked(true);
      },
    );
  }, []);
  useEffect(() => {
    onLoggedOut(() => setAsked(true));
    open();
    // An address with a code that is entered where the board is open already loads nothing.
    const entered = () => CODE.test(location.hash) && location.reload();
    window.addEventListener("hashchange", entered);
    return () => window.removeEventListener("hashchange", entered);
  }, [open]);
  if (error !== null) return <ErrorBox error={error} again={open} />;
  if (session !== null && session.fault !== null) {
    return (
      <>
        <ErrorBox error={new Error(session.fault)} again={open} />
        <nav class="database-links" aria-label="Databases">
          <DatabaseLinks names={session.databases} current={null} />
        </nav>
      </>
    );
  }
  return (
    <>
      {session !== null && !session.login ? (
        <SessionContext.Provider value={session}>
          <Board />
        </SessionContext.Provider>
      ) : (
        !asked && <Loading />
      )}
      {asked && (
        <Login
          message={refusal}
          onDone={() => {
            setAsked(false);
            open();
            live.refresh();
          }}
        />
      )}
    </>
  );
}

startTheme();
startKeys();
const root = document.getElementById("app");
if (root !== null) render(<App />, root);
