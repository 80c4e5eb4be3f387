import { keepPreviousData, useQuery, useQueryClient, type UseQueryResult } from "@tanstack/react-query";
import { useEffect, useSyncExternalStore } from "react";
import { KINDS } from "../lib/kinds";
import { ApiError, get, type Query, raw } from "./client";

/** How often views are read again while the event stream is away. */
const POLL = 5_000;

type Stream = "connecting" | "live" | "away";

let stream: Stream = "connecting";
let paused = false;
const listeners = new Set<() => void>();
const subscribe = (listener: () => void) => {
  listeners.add(listener);
  return () => void listeners.delete(listener);
};
const tell = () => {
  for (const listener of listeners) listener();
};

export const useStream = () => useSyncExternalStore(subscribe, () => stream);
export const usePaused = () => useSyncExternalStore(subscribe, () => paused);
export function setPaused(next: boolean) {
  paused = next;
  tell();
}

/** Only what may be over in a moment is asked for again at once: no answer, or that of something in between. */
export const again = (count: number, error: Error) => error instanceof ApiError && (error.problem.status === 0 || error.problem.status >= 502) && count < 2;

/** Reads a view, keeps what was read while the next is on its way, and reads again when the API says it changed. */
export function useGet<T>(path: string | null, query?: Query, every?: number): UseQueryResult<T, Error> {
  const state = useStream();
  const still = usePaused();
  const interval = still ? false : (every ?? (state === "live" ? 30_000 : POLL));
  return useQuery<T>({
    queryKey: [path, query ?? {}],
    queryFn: ({ signal }) => get<T>(path ?? "", query, signal),
    enabled: path !== null,
    placeholderData: keepPreviousData,
    refetchInterval: interval,
    staleTime: 2_000,
    retry: again,
  });
}

const TOPICS: Record<string, string[]> = {
  objects: ["/_apply", "/_authz/matrix", "/services", "/history", "/overview", "/problems", "/audit"],
  services: ["/services", "/overview"],
  endpoints: ["/endpoints", "/services", "/workloads", "/members"],
  proxies: ["/proxies", "/overview", "/members", "/control-plane"],
  problems: ["/problems", "/overview"],
  registries: ["/registries", "/overview"],
  telemetry: ["/graph", "/series", "/overview"],
};

const isObject = (path: string) => path.startsWith("/config") || KINDS.some(({ plural }) => path.startsWith(`/${plural}/`));

export interface Event {
  event: string;
  data: string;
  id: string;
}

/** Splits what came so far into whole events and the rest. */
export function parseEvents(buffer: string): { events: Event[]; rest: string } {
  const blocks = buffer.replaceAll("\r\n", "\n").split("\n\n");
  const rest = blocks.pop() ?? "";
  const events: Event[] = [];
  for (const block of blocks) {
    const found: Event = { event: "message", data: "", id: "" };
    for (const line of block.split("\n")) {
      const colon = line.indexOf(":");
      if (colon <= 0) continue;
      const value = line.slice(colon + 1).replace(/^ /, "");
      const name = line.slice(0, colon);
      if (name === "event") found.event = value;
      else if (name === "id") found.id = value;
      else if (name === "data") found.data += found.data ? `\n${value}` : value;
    }
    if (found.data || found.event !== "message") events.push(found);
  }
  return { events, rest };
}

/** Reads a stream of events until it ends or is given up. */
export async function readEvents(path: string, query: Query, signal: AbortSignal, on: (event: Event) => void, opened?: () => void, last?: string) {
  const headers: Record<string, string> = { accept: "text/event-stream" };
  if (last) headers["last-event-id"] = last;
  const response = await raw(path, { query, signal, headers });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (!reader) return;
  opened?.();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parsed = parseEvents(rest + value);
    rest = parsed.rest;
    for (const event of parsed.events) on(event);
  }
}

/** One stream for the whole console: each event makes the views that it concerns be read again. */
export function useEvents() {
  const client = useQueryClient();
  useEffect(() => {
    const stop = new AbortController();
    let last = "";
    let wait = 1_000;
    const on = ({ event, id }: Event) => {
      if (id) last = id;
      if (paused) return;
      const prefixes = event === "resync" ? [""] : (TOPICS[event === "graph" ? "telemetry" : event] ?? []);
      const kinds = event === "objects";
      void client.invalidateQueries({
        predicate: ({ queryKey: [path] }) =>
          typeof path === "string" && (prefixes.some((prefix) => path.startsWith(prefix)) || (kinds && isObject(path))),
      });
    };
    const run = async () => {
      while (!stop.signal.aborted) {
        try {
          const opened = () => {
            stream = "live";
            wait = 1_000;
            tell();
          };
          const topics = Object.keys(TOPICS).join(",");
          await readEvents("/events", { topics }, stop.signal, on, opened, last);
        } catch {
          // Told by the pill in the bar; the views poll meanwhile.
        }
        if (stop.signal.aborted) return;
        stream = "away";
        tell();
        await new Promise((resolve) => setTimeout(resolve, wait));
        wait = Math.min(wait * 2, 15_000);
      }
    };
    void run();
    return () => stop.abort();
  }, [client]);
}
