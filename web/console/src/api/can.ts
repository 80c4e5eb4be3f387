import { useQuery } from "@tanstack/react-query";
import { call } from "./client";
import { useSession } from "./session";

/** Why this session may not do that, or null. Only greys out: the API decides again when it is done. */
export function useCan(verb: string, kind?: string, namespace?: string): string | null {
  const session = useSession();
  const answer = useQuery({
    queryKey: ["/_can", session?.actor, verb, kind, namespace],
    queryFn: () => call<{ allowed: boolean; reason?: string }>("/_can", { method: "POST", body: { verb, kind, namespace } }),
    staleTime: 60_000,
    retry: false,
  });
  if (!answer.data || answer.data.allowed) return null;
  return answer.data.reason ?? `This takes the right to ${verb}.`;
}
