import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useCan } from "../api/can";
import { call } from "../api/client";
import { useGet } from "../api/hooks";
import { CopyAs } from "../ui/copy";
import { ProblemBox } from "../ui/states";

const LEVELS = ["error", "warn", "info", "debug", "trace"];

/** What the control plane or a proxy writes to its log, and a way to change it until it ends. */
export function LogLevel({ of, proxy = "" }: { of: string; proxy?: string }) {
  const path = `${of}/_log-level`;
  const told = useGet<{ filter: string }>(path);
  const client = useQueryClient();
  const denied = useCan("manage-access");
  const [failed, setFailed] = useState<unknown>(null);
  const filter = told.data?.filter;
  if (filter === undefined) return told.error ? <ProblemBox error={told.error} /> : <>–</>;
  // What single modules write stays as it is.
  const modules = filter.split(",").filter((part) => part.includes("="));
  const level = filter.split(",").find((part) => !part.includes("=")) ?? "error";
  const set = (next: string) => {
    setFailed(null);
    call(path, { method: "PUT", body: { filter: [next, ...modules].join(",") } })
      .then(() => client.invalidateQueries({ queryKey: [path] }))
      .catch(setFailed);
  };
  return (
    <div className="grid gap-2">
      <div className="flex flex-wrap items-center gap-2">
        <select className="field" aria-label="Log level" title={denied ?? "Until it ends"} disabled={denied !== null} value={level} onChange={(event) => set(event.target.value)}>
          {[...new Set([level, ...LEVELS])].map((each) => (
            <option key={each}>{each}</option>
          ))}
        </select>
        <CopyAs cli={`weft log-level ${proxy && `${proxy} `}${filter}`} path={path} options={{ method: "PUT", body: { filter } }} />
      </div>
      {failed !== null && <ProblemBox error={failed} />}
    </div>
  );
}
