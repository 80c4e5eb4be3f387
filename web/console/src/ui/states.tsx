import type { UseQueryResult } from "@tanstack/react-query";
import { type ReactNode, useEffect, useState } from "react";
import { ApiError, type Problem } from "../api/client";
import { ago } from "../lib/format";
import { advice } from "../lib/lines";
import { CopyButton } from "./copy";
import { Icon, type IconName } from "./icons";

/** First a skeleton; what takes longer says that it is still coming. */
export function Loading({ rows = 6 }: { rows?: number }) {
  const [late, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), 300);
    return () => clearTimeout(timer);
  }, []);
  return (
    <div className="p-4" role="status" aria-label="Loading">
      <div className="grid gap-3" aria-hidden="true">
        {Array.from({ length: rows }, (_, row) => (
          <div key={row} className="skeleton h-5" style={{ width: `${92 - ((row * 17) % 40)}%` }} />
        ))}
      </div>
      {late && <p className="mt-4 text-soft">Reading…</p>}
    </div>
  );
}

/** Nothing is there yet: what belongs here, and the one command that brings the first. */
export function EmptyFirst({ icon = "info", title, children, command, action }: { icon?: IconName; title: string; children?: ReactNode; command?: string; action?: ReactNode }) {
  return (
    <div className="mx-auto flex max-w-2xl flex-col items-center gap-3 px-6 py-10 text-center">
      <span className="rounded-full bg-raised p-3 text-soft">
        <Icon name={icon} size={20} />
      </span>
      <h2 className="text-base font-semibold">{title}</h2>
      {children && <div className="text-soft">{children}</div>}
      {command && <Command text={command} />}
      {action}
    </div>
  );
}

export function Command({ text }: { text: string }) {
  return (
    <div className="flex max-w-full items-center gap-2 rounded-md bg-raised py-1 pr-1 pl-3 text-left">
      <code className="mono overflow-x-auto whitespace-pre" tabIndex={0}>{text}</code>
      <CopyButton text={text} />
    </div>
  );
}

export function EmptyFiltered({ what, clear }: { what: string; clear: () => void }) {
  return (
    <div className="flex flex-col items-center gap-3 px-6 py-10 text-center">
      <p className="text-soft">No {what} match the filter.</p>
      <button type="button" className="button" onClick={clear}>
        Clear the filter
      </button>
    </div>
  );
}

function Bar({ tone, icon, children }: { tone: "warn" | "info"; icon: IconName; children: ReactNode }) {
  const colours = tone === "warn" ? "bg-warn-soft text-warn" : "bg-accent-soft text-accent";
  return (
    <div className={`mb-3 flex flex-wrap items-center gap-2 rounded-md px-3 py-2 ${colours}`} role="status">
      <Icon name={icon} />
      {children}
    </div>
  );
}

export function Partial({ answered, total, missing }: { answered: number; total: number; missing: string[] }) {
  if (answered >= total) return null;
  return (
    <Bar tone="warn" icon="partial">
      <span>
        {answered} of {total} sources answered. Missing: {missing.slice(0, 5).join(", ")}
        {missing.length > 5 && ` and ${missing.length - 5} more`}
      </span>
    </Bar>
  );
}

export function Stale({ since }: { since: number }) {
  return (
    <Bar tone="warn" icon="clock">
      <span>Not up to date: this was read {ago(since)}, and the control plane does not answer now. Trying again by itself.</span>
    </Bar>
  );
}

export function ReadOnly({ children }: { children: ReactNode }) {
  return (
    <Bar tone="info" icon="lock">
      <span>{children}</span>
    </Bar>
  );
}

const NO_TITLE: Problem = { title: "Something failed", status: 0 };

export function asProblem(error: unknown): Problem {
  if (error instanceof ApiError) return error.problem;
  return { ...NO_TITLE, detail: error instanceof Error ? error.message : String(error) };
}

export function ProblemBox({ error, retry }: { error: unknown; retry?: () => void }) {
  const problem = asProblem(error);
  if (problem.status === 403) return <Forbidden problem={problem} />;
  const errors = problem.errors ?? [];
  return (
    <div className="panel border-bad p-4" role="alert">
      <div className="flex items-start gap-3">
        <span className="mt-0.5 text-bad">
          <Icon name="bad" />
        </span>
        <div className="min-w-0 flex-1">
          <h2 className="font-semibold">{problem.title}</h2>
          {problem.detail && <p className="mt-1 text-soft">{problem.detail}</p>}
          {errors.length > 0 && (
            <ul className="mt-2 grid gap-1">
              {errors.map((found, index) => (
                <li key={index}>
                  <code className="mono">{found.path || found.pointer}</code> {found.detail}
                  {found.suggestion && <span className="text-soft"> · {advice(found.suggestion)}</span>}
                </li>
              ))}
            </ul>
          )}
          <p className="mono mt-2 text-soft">
            {[problem.status ? `status ${problem.status}` : null, problem.code, problem.trace_id && `trace ${problem.trace_id}`].filter(Boolean).join(" · ")}
          </p>
          <div className="mt-3 flex gap-2">
            {retry && (
              <button type="button" className="button" onClick={retry}>
                Try again
              </button>
            )}
            <CopyButton text={JSON.stringify(problem, null, 2)} label="Copy" />
          </div>
        </div>
      </div>
    </div>
  );
}

function Forbidden({ problem }: { problem: Problem }) {
  return (
    <EmptyFirst icon="lock" title="Your role does not show this">
      <p>{problem.detail ?? "Ask an administrator of the mesh for a token with the role that this takes."}</p>
    </EmptyFirst>
  );
}

/**
 * One view in all its states. What was read stays in sight when the next reading fails; only what never was read gives
 * way to the problem.
 */
export function View<T>({ of, rows, children }: { of: UseQueryResult<T, Error>; rows?: number; children: (data: T) => ReactNode }) {
  if (of.data !== undefined) {
    return (
      <>
        {of.isError && <Stale since={of.dataUpdatedAt} />}
        {children(of.data)}
      </>
    );
  }
  if (of.isError) return <ProblemBox error={of.error} retry={() => void of.refetch()} />;
  return <Loading rows={rows} />;
}
