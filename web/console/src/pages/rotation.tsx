import { useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { useCan } from "../api/can";
import { call } from "../api/client";
import { useGet } from "../api/hooks";
import type { Authority, Rotation } from "../api/types";
import { plural, until } from "../lib/format";
import { CopyAs } from "../ui/copy";
import { Dialog } from "../ui/dialog";
import { Panel } from "../ui/page";
import { ProblemBox } from "../ui/states";
import { Badge } from "../ui/status";
import { Table } from "../ui/table";

type Phase = Rotation["phase"];

/** Looked at more often while a change of roots is under way, so that one sees who follows. */
export function useAuthority() {
  const moving = useRef(false);
  const authority = useGet<Authority>("/ca", undefined, moving.current ? 2_000 : undefined);
  moving.current = authority.data !== undefined && authority.data.rotation.phase !== "idle";
  return authority;
}

/** What each phase is, what the next step does, and where the command line stops then. */
const PHASES: Record<Phase, { now: string; next: string; does: string; to: string; undo: string }> = {
  idle: { now: "One root is trusted, and it signs.", next: "Begin", does: "The next root is made. Nobody is told of it yet.", to: "staged", undo: "" },
  staged: { now: "The next root is made, and nobody knows it yet.", next: "Tell everybody", does: "Every holder of a certificate is told to trust both roots. The old one goes on signing.", to: "distributed", undo: "The next root is thrown away." },
  distributed: { now: "Everybody is told to trust both roots; the old one signs.", next: "Sign with the new root", does: "The new root signs from now on; both are trusted. Join tokens made before name the old root and cannot be used any more.", to: "signing", undo: "The next root is not trusted any more." },
  signing: { now: "The new root signs, and both are trusted.", next: "Retire the old root", does: "The old root is not trusted any more. Whoever still has a certificate below it is cut off.", to: "retired", undo: "The old root signs again." },
};
/** Where the authority is plugged in, a step is files that somebody puts there. */
const FILES = { next: "Take up the files", does: "What is in the authority's directory is put in force.", to: "retired", undo: "" };
const ORDER: [Phase | "retired", string][] = [["staged", "Made"], ["distributed", "Trusted"], ["signing", "Signs"], ["retired", "Old one retired"]];

function Confirm({ rotation, back, close }: { rotation: Rotation; back: boolean; close: () => void }) {
  const [force, setForce] = useState(false);
  const [failed, setFailed] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const client = useQueryClient();
  const phase = rotation.plugged_in ? FILES : PHASES[rotation.phase];
  const held = !back && rotation.waiting.length > 0;
  const body = { step: back ? "back" : "advance", ...(force ? { force } : {}) };
  const go = () => {
    setBusy(true);
    call("/ca/_rotate", { method: "POST", body })
      .then(() => {
        void client.invalidateQueries();
        close();
      })
      .catch(setFailed)
      .finally(() => setBusy(false));
  };
  return (
    <Dialog title={back ? "One step back?" : `${phase.next}?`} close={close}>
      <div className="grid gap-4">
        <p>{back ? phase.undo : phase.does} No proxy is restarted, and no connection is cut.</p>
        {held && <p className="rounded-md bg-warn-soft px-3 py-2 text-warn">{`${plural(rotation.waiting.length, "holder")} of a certificate has not followed yet: the step is refused until each has, or its certificate has ended.`}</p>}
        {(held || back) && (
          <label className="flex items-center gap-2">
            <input type="checkbox" className="size-4 accent-[var(--accent)]" checked={force} onChange={(event) => setForce(event.target.checked)} />
            Go on although somebody is behind, who is cut off by it
          </label>
        )}
        {failed !== null && <ProblemBox error={failed} />}
        <div className="flex flex-wrap justify-end gap-2">
          <CopyAs cli={`weft ca rotate ${back ? "--back" : `--to ${phase.to} --no-wait`}${force ? " --force" : ""}`} path="/ca/_rotate" options={{ method: "POST", body }} />
          <button type="button" className="button" onClick={close}>Cancel</button>
          <button type="button" className={`button ${force ? "danger" : "primary"}`} data-focus="" disabled={busy} onClick={go}>{back ? "Go back" : phase.next}</button>
        </div>
      </div>
    </Dialog>
  );
}

/** The four steps with the one that was reached, told in words as well. */
function Steps({ phase }: { phase: Phase }) {
  const reached = ORDER.findIndex(([name]) => name === phase);
  return (
    <ol className="grid gap-2 sm:grid-cols-4" aria-label="Steps">
      {ORDER.map(([name, title], at) => (
        <li key={name} aria-current={at === reached ? "step" : undefined} className={`border-t-2 pt-1 ${at <= reached ? "border-accent font-medium" : "border-line text-soft"}`}>
          {`${at + 1}. ${title}`}
        </li>
      ))}
    </ol>
  );
}

/** The change from one root of trust to the next: how far it is, who lags behind, and the steps on and back. */
export function RotationPanel({ authority }: { authority: Authority }) {
  const { rotation } = authority;
  const [asking, ask] = useState<"on" | "back" | null>(null);
  const denied = useCan("rotate-ca");
  const phase = PHASES[rotation.phase];
  const next = rotation.plugged_in ? FILES.next : rotation.phase === "idle" ? "Begin a rotation" : phase.next;
  return (
    <Panel
      title="Change of the root of trust"
      actions={
        <>
          {rotation.phase !== "idle" && !rotation.plugged_in && (
            <button type="button" className="button small" disabled={denied !== null} title={denied ?? undefined} onClick={() => ask("back")}>Step back</button>
          )}
          {(!rotation.plugged_in || rotation.pending !== null) && (
            <button type="button" className="button small" disabled={denied !== null} title={denied ?? undefined} onClick={() => ask("on")}>{next}</button>
          )}
        </>
      }
    >
      <div className="grid gap-4" data-phase={rotation.phase}>
        <p>{phase.now}</p>
        {rotation.pending !== null && <p className="rounded-md bg-warn-soft px-3 py-2 text-warn">{`Files of the authority's are not in force: ${rotation.pending}`}</p>}
        {rotation.phase !== "idle" && (
          <>
            <Steps phase={rotation.phase} />
            <div className="flex items-center gap-3">
              <span className="h-2 flex-1 overflow-hidden rounded bg-raised" aria-hidden="true">
                <span className="block h-full rounded bg-ok" style={{ width: `${rotation.percent}%` }} />
              </span>
              <Badge tone={rotation.waiting.length > 0 ? "warn" : "ok"}>{`${rotation.percent} % of ${plural(rotation.holders, "holder")} followed`}</Badge>
            </div>
          </>
        )}
        {rotation.waiting.length > 0 && (
          <Table
            label="Who lags behind"
            rows={rotation.waiting}
            id={(row) => `${row.identity} ${row.member ?? row.lineage ?? ""}`}
            order="until"
            param="waiting"
            columns={[
              { key: "identity", header: "Who lags behind", sort: (row) => row.identity, cell: (row) => <span className="mono">{row.identity}</span> },
              { key: "member", header: "Member", cell: (row) => <span className="mono">{row.member ?? (row.lineage === null ? "–" : `certificates from ${row.lineage.slice(0, 8)}`)}</span> },
              { key: "from", header: "Address", cell: (row) => <span className="mono">{row.from ?? "–"}</span> },
              { key: "reason", header: "Why", cell: (row) => row.reason },
              { key: "until", header: "Waits at most", right: true, sort: (row) => row.until, cell: (row) => until(row.until) },
            ]}
          />
        )}
      </div>
      {asking && <Confirm rotation={rotation} back={asking === "back"} close={() => ask(null)} />}
    </Panel>
  );
}
