import { lazy, type ReactNode, Suspense, useCallback, useState } from "react";
import { setPaused, useEvents, useGet, usePaused, useStream } from "../api/hooks";
import { useAccess, useSession } from "../api/session";
import type { List, Service } from "../api/types";
import { PHONE, useMedia } from "../lib/media";
import { useScope, useWindow, WINDOWS } from "../lib/params";
import { setTheme, useTheme } from "../lib/theme";
import { Dialog } from "../ui/dialog";
import { Icon } from "../ui/icons";
import { KEYS, useKeys } from "./keys";
import { Column, Drawer } from "./navigation";

const Palette = lazy(() => import("./palette"));

function Scope() {
  const [scope, setScope] = useScope();
  const services = useGet<List<Service>>("/services", { limit: 1000 });
  const namespaces = [...new Set([...(services.data?.items.map((service) => service.namespace) ?? []), ...(scope ? [scope] : [])])].sort();
  return (
    <select className="field max-sm:flex-1" aria-label="Namespace" value={scope} onChange={(event) => setScope(event.target.value)}>
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
    <select className="field max-sm:flex-1" aria-label="Figures over the last" value={chosen} onChange={(event) => choose(event.target.value)}>
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
      <span className="text-right text-xs leading-4 max-sm:sr-only">
        <span className="block font-medium">{session.actor}</span>
        <span className="block text-soft">{session.role}</span>
      </span>
      <button type="button" className="button quiet" aria-label="Sign out" title="Sign out" onClick={() => void signOut()}>
        <Icon name="out" />
      </button>
    </div>
  );
}

function Search({ open }: { open: () => void }) {
  return (
    <button type="button" className="field flex w-64 min-w-0 items-center gap-2 text-soft max-lg:w-40 max-sm:flex-1" onClick={open}>
      <Icon name="search" />
      <span className="clip flex-1 text-left">Search</span>
      <kbd className="kbd max-lg:hidden">⌘ K</kbd>
    </button>
  );
}

function ThemeSwitch() {
  const theme = useTheme();
  return (
    <button type="button" className="button quiet" aria-label={theme === "dark" ? "Light theme" : "Dark theme"} onClick={() => setTheme(theme === "dark" ? "light" : "dark")}>
      <Icon name={theme === "dark" ? "sun" : "moon"} />
    </button>
  );
}

/** On a phone the whole document scrolls, so that the bar above takes no room from what is read (WCAG 2.2, 1.4.10). */
export function Shell({ children }: { children: ReactNode }) {
  const [over, setOver] = useState<"palette" | "help" | null>(null);
  const phone = useMedia(PHONE);
  const open = useCallback((what: "palette" | "help") => setOver(what), []);
  const close = useCallback(() => setOver(null), []);
  useEvents();
  useKeys(open);
  return (
    <div className="flex h-full max-sm:h-auto max-sm:min-h-full">
      <a href="#main" className="sr-only focus:not-sr-only focus:absolute focus:z-50 focus:m-2 focus:rounded-md focus:bg-panel focus:p-2">
        Skip to the page
      </a>
      {!phone && <Column />}
      <div className="flex min-w-0 flex-1 flex-col">
        <header className="flex min-h-12 shrink-0 flex-wrap items-center gap-2 border-b border-line bg-panel px-4 py-2 sm:py-0">
          {phone && <Drawer />}
          <Search open={() => open("palette")} />
          <div className="ml-auto flex items-center gap-2 max-sm:order-last max-sm:ml-0 max-sm:w-full">
            <Scope />
            <Range />
            <Live />
          </div>
          <ThemeSwitch />
          <User />
        </header>
        <main id="main" tabIndex={-1} className="min-h-0 flex-1 outline-none sm:overflow-auto">
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
