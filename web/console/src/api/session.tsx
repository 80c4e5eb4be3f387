import { createContext, type ReactNode, useCallback, useContext, useEffect, useMemo, useState } from "react";
import { ApiError, call, credentials, get } from "./client";
import { forgetDrafts } from "../lib/drafts";

export interface Session {
  actor: string;
  role: string;
  csrf?: string;
  expires_at?: number | null;
}

type State = { is: "asking" } | { is: "out"; told?: string } | { is: "in"; session: Session };

interface Access {
  state: State;
  signIn(token: string): Promise<void>;
  signOut(): Promise<void>;
}

/** Whether this browser had a session: without one there is nothing to ask the API for. Holds no secret. */
const HINT = "weft.session";

function remember(there: boolean) {
  try {
    if (there) localStorage.setItem(HINT, "1");
    else localStorage.removeItem(HINT);
  } catch {
    // A browser that keeps nothing asks for the token each time.
  }
}

function remembered(): boolean {
  try {
    return localStorage.getItem(HINT) !== null;
  } catch {
    return false;
  }
}

const Context = createContext<Access | null>(null);

/** What a setup link carries: in its fragment, which never leaves the browser, or in its query. */
export function setupToken(place: { hash: string; search: string }): string | null {
  const fragment = new URLSearchParams(place.hash.replace(/^#/, ""));
  const query = new URLSearchParams(place.search);
  return fragment.get("setup") ?? fragment.get("token") ?? query.get("setup") ?? query.get("token");
}

async function open(token: string): Promise<Session> {
  const session = await call<Session>("/_session", { method: "POST", body: { token } });
  credentials.set({ csrf: session.csrf });
  remember(true);
  return session;
}

export function SessionProvider({ children }: { children: ReactNode }) {
  const [state, setState] = useState<State>({ is: "asking" });

  const signIn = useCallback(async (token: string) => {
    try {
      setState({ is: "in", session: await open(token) });
    } catch (error) {
      const told = error instanceof ApiError ? (error.problem.detail ?? error.problem.title) : String(error);
      setState({ is: "out", told });
      throw error;
    }
  }, []);

  const signOut = useCallback(async () => {
    await call("/_session", { method: "DELETE" }).catch(() => undefined);
    forgetDrafts();
    credentials.set({});
    remember(false);
    setState({ is: "out" });
  }, []);

  useEffect(() => {
    const link = setupToken(location);
    if (link) {
      history.replaceState(null, "", location.pathname);
      void signIn(link).catch(() => undefined);
      return;
    }
    if (!remembered()) {
      setState({ is: "out" });
      return;
    }
    get<Session>("/_session")
      .then((session) => {
        credentials.set({ csrf: session.csrf });
        setState({ is: "in", session });
      })
      .catch((error: unknown) => {
        const refused = error instanceof ApiError && error.problem.status === 401;
        if (refused) remember(false);
        setState(refused ? { is: "out" } : { is: "out", told: String((error as Error).message) });
      });
  }, [signIn]);

  useEffect(
    () =>
      credentials.onRefused(() =>
        setState((before) => (before.is === "in" ? { is: "out", told: "The session is over; sign in again." } : before)),
      ),
    [],
  );

  const access = useMemo(() => ({ state, signIn, signOut }), [state, signIn, signOut]);
  return <Context value={access}>{children}</Context>;
}

export function useAccess(): Access {
  const access = useContext(Context);
  if (!access) throw new Error("outside of the session");
  return access;
}

export function useSession(): Session | null {
  const { state } = useAccess();
  return state.is === "in" ? state.session : null;
}
