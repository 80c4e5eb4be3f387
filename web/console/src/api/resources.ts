import { keepPreviousData, useQueries } from "@tanstack/react-query";
import { KINDS } from "../lib/kinds";
import { get } from "./client";
import { again, useStream } from "./hooks";
import type { List, Resource } from "./types";

export interface Resources {
  items: Resource[];
  /** The kinds that did not answer. */
  missing: string[];
  pending: boolean;
  /** What is shown was read at this time, and cannot be read again now; null where it can. */
  stale: number | null;
  error: Error | null;
  again: () => void;
}

/** The objects of these kinds, or of all. */
export function useResources(kinds: string[] = KINDS.map((each) => each.plural), namespace = ""): Resources {
  const live = useStream() === "live";
  const results = useQueries({
    queries: kinds.map((kind) => ({
      queryKey: ["/config", kind, namespace],
      queryFn: ({ signal }: { signal: AbortSignal }) => get<List<Resource>>(`/${kind}`, { namespace, limit: 1000 }, signal),
      placeholderData: keepPreviousData,
      retry: again,
      refetchInterval: live ? 60_000 : 10_000,
    })),
  });
  const failed = results.flatMap((result, at) => (result.isError && result.data === undefined ? [kinds[at] as string] : []));
  const old = results.filter((result) => result.isError && result.data !== undefined).map((result) => result.dataUpdatedAt);
  return {
    items: results.flatMap((result) => result.data?.items ?? []),
    missing: failed,
    pending: results.some((result) => result.isPending),
    stale: old.length > 0 ? Math.min(...old) : null,
    error: failed.length === kinds.length ? (results[0]?.error ?? null) : null,
    again: () => results.forEach((result) => void result.refetch()),
  };
}
