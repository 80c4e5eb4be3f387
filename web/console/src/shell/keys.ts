import { useLayoutEffect, useRef } from "react";
import { useLocation } from "wouter";
import { useKept } from "../lib/params";
import { PLACES } from "./nav";

export const KEYS: [string, string][] = [
  ["⌘ K / Ctrl K", "Search pages, services, proxies and actions"],
  ["/", "Filter what is on the page"],
  ["g, then a letter", `Go to a page: ${PLACES.map((place) => `${place.key} ${place.title}`).join(", ")}`],
  ["j, k", "Next and previous row; Enter opens it"],
  ["[, ]", "Previous and next tab"],
  ["e", "Edit: into the text of an object"],
  ["⌘ S, ⌘ ⏎ / Ctrl", "In the text: check it, apply it"],
  ["Tab, arrows, f, + −", "In the graph: to a node, along its calls, fit, zoom"],
  ["Esc", "Close the panel or dialog"],
  ["?", "This list"],
];

const typing = (target: EventTarget | null) =>
  target instanceof HTMLElement && (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName));

/** Inside of a shadow root the event's target is the root's host. */
const origin = (event: KeyboardEvent) => event.composedPath()[0] ?? event.target;

export function useKeys(open: (what: "palette" | "help") => void) {
  const [, go] = useLocation();
  const kept = useKept();
  /** Until when a letter is waited for that says where to go. */
  const until = useRef(0);
  // Before anything is on the screen: who sees the page may press keys.
  useLayoutEffect(() => {
    const press = (event: KeyboardEvent) => {
      if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        open("palette");
        return;
      }
      if (event.metaKey || event.ctrlKey || event.altKey || typing(origin(event)) || document.querySelector("dialog[open]")) return;
      if (event.timeStamp < until.current) {
        until.current = 0;
        const place = PLACES.find((place) => place.key === event.key);
        if (place) {
          event.preventDefault();
          go(kept(place.path));
        }
        return;
      }
      switch (event.key) {
        case "g":
          until.current = event.timeStamp + 1_500;
          break;
        case "/": {
          const filter = document.querySelector<HTMLElement>("[data-filter]");
          if (filter) {
            event.preventDefault();
            filter.focus();
          }
          break;
        }
        case "e":
          // Else the letter would be the first that is typed.
          event.preventDefault();
          document.dispatchEvent(new CustomEvent("weft:edit"));
          break;
        case "?":
          open("help");
          break;
        case "j":
        case "k":
          if ((document.activeElement as HTMLElement | null)?.dataset.opens === undefined) document.querySelector<HTMLElement>("main [data-opens]")?.focus();
          break;
        case "[":
        case "]":
          document.dispatchEvent(new CustomEvent("weft:tab", { detail: event.key === "]" ? 1 : -1 }));
          break;
      }
    };
    document.addEventListener("keydown", press);
    return () => document.removeEventListener("keydown", press);
  }, [go, kept, open]);
}
