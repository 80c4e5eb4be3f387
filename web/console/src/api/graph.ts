import { useScope, useWindow } from "../lib/params";
import { useGet } from "./hooks";
import type { Graph } from "./types";

/** The service graph over the window that is looked at. */
export function useGraph() {
  const [, , window] = useWindow();
  const [scope] = useScope();
  return useGet<Graph>("/graph", { window: `${window}s`, namespace: scope }, 10_000);
}
