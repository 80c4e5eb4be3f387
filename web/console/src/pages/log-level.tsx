import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useCan } from "../api/can";
import { call } from "../api/client";
import { useGet } from "../api/hooks";
import { CopyAs } from "../ui/copy";
import { ProblemBox } from "../ui/states";

const PATH = "/control-plane/_log-level";
const LEVELS = ["error", "warn", "info", "debug", "trace"];

/** What the control plane writes to its log, and a way to change it until it ends. */
export function LogLevel() {
  const told = useGet<{ filter: string }>(PATH);
  const client = useQueryClient();
  const denied = useCan("manage-access");
  const [failed, setFailed] = useState<unknown>(null);
  const filter = told.data?.filter;
  if (filter === undefined) return <>–</>;
  // What single modules write stays as it is.
  const modules = filter.split(",").filter((part) => part.includes("="));
  const level = filter.split(",").find((part) => !part.includes("=")) ?? "error";
  const set = (next: string) => {
    setFailed(null);
    call(PATH, { method: "PUT", body: { filter: [next, ...modules].join(",") } })
      .then(() => client.invalidateQueries({ queryKey: [PATH] }))
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
        <CopyAs cli={`weft log-level ${filter}`} path={PATH} options={{ method: "PUT", body: { filter } }} />
      </div>
      {failed !== null && <ProblemBox error={failed} />}
    </div>
  );
}
