import { useEffect, useState } from "react";
import { located, type Told } from "../lib/lines";
import { ApiError, call, type Finding, type Problem } from "./client";

export interface Outcome {
  kind: string;
  namespace: string;
  name: string;
  change: "created" | "configured" | "unchanged";
  revision?: number;
  warnings?: Finding[];
}

/** A call of the last hour that the change would deny, or may. */
export interface DeniedEdge {
  source: string;
  destination: string;
  principal: string;
  requests_per_second: number;
  decision: "denied" | "depends";
  because: string;
}

export interface Applied {
  items: Outcome[];
  dry_run?: boolean;
  /** Of a dry run: whether it could be applied, and what there is to say of it. */
  valid?: boolean;
  diagnostics?: Finding[];
  impact?: { proxies?: number; sample?: string[]; deniedObservedEdges?: DeniedEdge[] } | null;
  diff?: unknown;
}

export interface DryRun {
  state: "empty" | "asking" | "valid" | "invalid" | "failed";
  applied?: Applied;
  findings: Finding[];
  problem?: Problem;
}

export const apply = (text: string, dry: boolean, message?: string) =>
  call<Applied>("/_apply", { method: "POST", text, query: { dryRun: dry ? "server" : null, message: dry ? null : message, origin: "console" } });

/** The two forms of an answer: a dry run that says whether it is valid, or one that is only given where it is. */
export function outcome(applied: Applied, text: string): DryRun {
  const told: Told[] = applied.items.flatMap((item) => (item.warnings ?? []).map((warning) => ({ ...warning, object: item })));
  const findings = located(text, told.length > 0 ? told : (applied.diagnostics ?? []));
  return applied.valid === false ? { state: "invalid", findings } : { state: "valid", applied, findings };
}

/** What the server would do with a text: asked once it rests. */
export function useDryRun(text: string, ask: number, enabled = true): DryRun {
  const [found, setFound] = useState<DryRun>({ state: "empty", findings: [] });
  useEffect(() => {
    if (!enabled || !text.trim()) {
      setFound({ state: "empty", findings: [] });
      return undefined;
    }
    let dropped = false;
    setFound((before) => ({ ...before, state: "asking" }));
    const timer = setTimeout(() => {
      apply(text, true)
        .then((applied) => !dropped && setFound(outcome(applied, text)))
        .catch((error: unknown) => {
          if (dropped) return;
          const problem = error instanceof ApiError ? error.problem : { title: String(error), status: 0 };
          const refused = problem.status === 422 || problem.status === 400;
          setFound({ state: refused ? "invalid" : "failed", findings: located(text, problem.errors ?? []), problem });
        });
    }, 350);
    return () => {
      dropped = true;
      clearTimeout(timer);
    };
  }, [text, ask, enabled]);
  return found;
}
