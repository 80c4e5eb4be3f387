/**
 * What was written and is not applied yet. It is kept for as long as the tab is open, so that neither another page nor
 * reading this one anew loses it.
 */
import { useCallback, useSyncExternalStore } from "react";

/** The draft of what is new; others may prepare it. */
export const NEW = "new";

const PREFIX = "weft:draft:";
const listeners = new Set<() => void>();

export function keepDraft(name: string, text: string | null, base = 0) {
  if (text === null) sessionStorage.removeItem(PREFIX + name);
  else sessionStorage.setItem(PREFIX + name, `${base}\n${text}`);
  for (const listener of listeners) listener();
}

/** For who comes after on the same machine. */
export function forgetDrafts() {
  for (const key of Object.keys(sessionStorage)) if (key.startsWith(PREFIX)) keepDraft(key.slice(PREFIX.length), null);
}

/** A draft and the revision that it was begun with. */
export function readDraft(kept: string | null): { text: string | null; base: number } {
  if (kept === null) return { text: null, base: 0 };
  const end = kept.indexOf("\n");
  return { text: kept.slice(end + 1), base: Number(kept.slice(0, end)) };
}

const subscribe = (listener: () => void) => {
  listeners.add(listener);
  return () => void listeners.delete(listener);
};

export function useDraft(name: string) {
  const kept = useSyncExternalStore(subscribe, () => sessionStorage.getItem(PREFIX + name));
  const set = useCallback((text: string | null, base = 0) => keepDraft(name, text, base), [name]);
  return { ...readDraft(kept), set };
}
