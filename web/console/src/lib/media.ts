import { useSyncExternalStore } from "react";

/** Whether the window is as the query says, now and whenever that changes. */
export function useMedia(query: string): boolean {
  return useSyncExternalStore(
    (listener) => {
      const list = matchMedia(query);
      list.addEventListener("change", listener);
      return () => list.removeEventListener("change", listener);
    },
    () => matchMedia(query).matches,
  );
}

/** Narrower than this the page is one column, and the navigation opens over it (WCAG 2.2, 1.4.10). */
export const PHONE = "(max-width: 639px)";
