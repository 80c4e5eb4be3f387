import { lazy, type ReactNode, Suspense, useCallback, useState } from "react";
import { Link, useLocation } from "wouter";
import { setPaused, useEvents, useGet, usePaused, useStream } from "../api/hooks";
import { useAccess, useSession } from "../api/session";
import type { List, Service } from "../api/types";
import { useKept, useScope, useWindow, WINDOWS } from "../lib/params";
import { setTheme, useTheme } from "../lib/theme";
import { Dialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { KEYS, useKeys } from "./keys";
import { PLACES } from "./nav";

const Palette = lazy(() => import("./palette"));

function Nav({ narrow, toggle }: { narrow: boolean; toggle: () => void }) {
  const [at] = useLocation();
  const kept = useKept();
  return (
    <nav aria-label="Pages" className={`flex shrink-0 flex-col border-r border-line bg-panel ${narrow ? "w-[52px]" : "w-[196px]"}`}>
      <Link href={kept("/")} className="flex h-12 items-center gap-2 border-b border-line px-4 text-base font-semibold text-ink hover:no-underline" aria-label="weft, home">
        <img src="/mark.svg" alt="" width={20} height={20} />
        {!narrow && "weft"}
      </Link>
      <ul className="grid gap-0.5 p-2">
        {PLACES.map((place) => {
          const here = place.path === "/" ? at === "/" : at === place.path || at.startsWith(`${place.path}/`);
          return (
            <li key={place.path}>
              <Link
                href={kept(place.path)}
                aria-current={here ? "page" : undefined}
                aria-label={narrow ? place.title : undefined}
                title={`${place.title} (g ${place.key})`}
                className={`flex h-8 items-center gap-3 rounded-md px-2.5 hover:no-underline ${here ? "bg-accent-soft font-medium text-accent" : "text-soft hover:bg-raised hover:text-ink"}`}
              >
                <Icon name={place.icon} />
                {!narrow && place.title}
              </Link>
            </li>
          );
        })}
      </ul>
      <button type="button" className="button quiet mt-auto mb-2 ml-2 w-9" aria-label={narrow ? "Widen the navigation" : "Narrow the navigation"} onClick={toggle}>
        <Icon name={narrow ? "right" : "left"} />
      </button>
    </nav>
  );
}

function Scope() {
  const [scope, setScope] = useScope();
  const services = useGet<List<Service>>("/services", { limit: 1000 });
  const namespaces = [...new Set([...(services.data?.items.map((service) => service.namespace) ?? []), ...(scope ? [scope] : [])])].sort();
  return (
    <select className="field" aria-label="Namespace" value={scope} onChange={(event) => setScope(event.target.value)}>
      <option value="">All namespaces</option>
      {namespaces.map((name) => (
        <option key={name}>{name}</option>
      ))}
    </select>
  );
}

function Range() {
  const [chosen, choose] = useWindow();
  return (
    <select className="field" aria-label="Figures over the last" value={chosen} onChange={(event) => choose(event.target.value)}>
      {WINDOWS.map((window) => (
        <option key={window} value={window}>
          Last {window.replace("m", " min").replace("h", " h")}
        </option>
      ))}
    </select>
  );
}

/** Whether the console hears of changes at once, reads by itself every few seconds, or was told to hold still. */
function Live() {
  const stream = useStream();
  const paused = usePaused();
  const word = paused ? "Paused" : stream === "live" ? "Live" : stream === "connecting" ? "Connecting" : "Polling";
  const tone = paused ? "text-soft" : stream === "live" ? "text-ok" : "text-warn";
  return (
    <button type="button" className="button" aria-pressed={paused} title={paused ? "Follow the mesh again" : "Hold still"} onClick={() => setPaused(!paused)}>
      <span className={`flex items-center gap-1.5 ${tone}`}>
        <Icon name={paused ? "play" : stream === "live" ? "activity" : "clock"} />
        {word}
      </span>
    </button>
  );
}

function User() {
  const session = useSession();
  const { signOut } = useAccess();
  if (!session) return null;
  return (
    <div className="flex items-center gap-1">
      <span className="text-right text-xs leading-4">
        <span className="block font-medium">{session.actor}</span>
        <span className="block text-soft">{session.role}</span>
      </span>
      <button type="button" className="button quiet" aria-label="Sign out" title="Sign out" onClick={() => void signOut()}>
        <Icon name="out" />
      </button>
    </div>
  );
}

export function Shell({ children }: { children: ReactNode }) {
  const [narrow, setNarrow] = useState(() => window.innerWidth < 900);
  const [over, setOver] = useState<"palette" | "help" | null>(null);
  const theme = useTheme();
  const open = useCallback((what: "palette" | "help") => setOver(what), []);
  const close = useCallback(() => setOver(null), []);
  useEvents();
  useKeys(open);
  return (
    <div className="flex h-full">
      <a href="#main" className="sr-only focus:not-sr-only focus:absolute focus:z-50 focus:m-2 focus:rounded-md focus:bg-panel focus:p-2">
        Skip to the page
      </a>
      <Nav narrow={narrow} toggle={() => setNarrow(!narrow)} />
      <div className="flex min-w-0 flex-1 flex-col">
        <header className="flex h-12 shrink-0 items-center gap-2 border-b border-line bg-panel px-4">
          <button type="button" className="field flex w-64 items-center gap-2 text-soft" onClick={() => open("palette")}>
            <Icon name="search" />
            <span className="flex-1 text-left">Search</span>
            <kbd className="kbd">⌘ K</kbd>
          </button>
          <div className="ml-auto flex items-center gap-2">
            <Scope />
            <Range />
            <Live />
            <button type="button" className="button quiet" aria-label={theme === "dark" ? "Light theme" : "Dark theme"} onClick={() => setTheme(theme === "dark" ? "light" : "dark")}>
              <Icon name={theme === "dark" ? "sun" : "moon"} />
            </button>
            <User />
          </div>
        </header>
        <main id="main" tabIndex={-1} className="min-h-0 flex-1 overflow-auto outline-none">
          {children}
        </main>
      </div>
      {over === "palette" && (
        <Suspense>
          <Palette close={close} help={() => setOver("help")} />
        </Suspense>
      )}
      {over === "help" && (
        <Dialog title="Keyboard" close={close}>
          <dl className="grid grid-cols-[max-content_1fr] gap-x-6 gap-y-3">
            {KEYS.map(([key, what]) => (
              <div key={key} className="contents">
                <dt>
                  <kbd className="kbd">{key}</kbd>
                </dt>
                <dd>{what}</dd>
              </div>
            ))}
          </dl>
        </Dialog>
      )}
    </div>
  );
}
