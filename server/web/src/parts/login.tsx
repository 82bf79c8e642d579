// The login: a form over the page, whose state stays.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { type Credentials, login } from "../api";
import { Dialog } from "./dialog";

/** Ask for name and token, or a join URI, and log in. */
export function Login(props: { onDone: () => void; message?: string | undefined }): JSX.Element {
  const [name, setName] = useState("");
  const [token, setToken] = useState("");
  const [error, setError] = useState(props.message ?? null);
  const [busy, setBusy] = useState(false);
  const isUri = token.includes("://");
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    const credentials: Credentials = isUri
      ? { uri: token.trim() }
      : { name: name.trim(), token: token.trim() };
    try {
      await login(credentials);
      props.onDone();
    } catch (failure) {
      setError((failure as Error).message);
      setBusy(false);
    }
  };
  return (
    <Dialog title="Log in" class="login" onClose={null}>
      <form onSubmit={submit}>
        <label>
          Name
          <input
            name="username"
            autocomplete="username"
            value={name}
            disabled={isUri}
            onInput={(event) => setName(event.currentTarget.value)}
          />
        </label>
        <label>
          Token, or the whole address (socket://…)
          <input
            name="password"
            type="password"
            autocomplete="current-password"
            required
            value={token}
            onInput={(event) => setToken(event.currentTarget.value)}
          />
        </label>
        {error !== null && (
          <p class="fault" role="alert">
            {error}
          </p>
        )}
        <button type="submit" class="button primary" disabled={busy}>
          Log in
        </button>
        <p class="hint">
          Without a form: <code>track board</code> on your own machine logs you in.
        </p>
      </form>
    </Dialog>
  );
}
