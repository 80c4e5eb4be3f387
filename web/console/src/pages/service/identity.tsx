import type { ReactNode } from "react";
import { useGet } from "../../api/hooks";
import type { Endpoint, Identity, List } from "../../api/types";
import { ago, clock, until } from "../../lib/format";
import { Facts, Panel } from "../../ui/page";
import { EmptyFirst, View } from "../../ui/states";
import { Badge } from "../../ui/status";

/** How much of a certificate's life is over; its end is said beside it in words. */
function Life({ issued, ends }: { issued: number; ends: number }) {
  const share = Math.min(1, Math.max(0, (Date.now() / 1000 - issued) / Math.max(1, ends - issued)));
  return (
    <span className="block h-1.5 w-full max-w-80 overflow-hidden rounded bg-raised" aria-hidden="true">
      <span className={`block h-full ${share > 0.9 ? "bg-warn" : "bg-ok"}`} style={{ width: `${share * 100}%` }} />
    </span>
  );
}

function One({ identity }: { identity: Identity }) {
  const { certificate } = identity;
  const told: [string, ReactNode][] = certificate
    ? [
        ["Certificate", <span className="grid gap-1.5">{`issued ${ago(certificate.issued)}, ends ${until(certificate.not_after)} (${clock(certificate.not_after)})`}<Life issued={certificate.issued} ends={certificate.not_after} /></span>],
        ["Proved by", <span className="break-all">{certificate.attested_by}</span>],
        ["Serial", <code className="mono break-all">{certificate.serial}</code>],
      ]
    : [];
  return (
    <Panel
      title={<code className="mono break-all">{identity.identity}</code>}
      actions={certificate ? <Badge tone={certificate.state === "valid" ? "ok" : "bad"} icon="lock">{certificate.state}</Badge> : <Badge icon="unknown">no certificate of ours</Badge>}
    >
      <Facts rows={[["Workloads", identity.workloads.join(", ") || "–"], ["Proxies", identity.proxies.join(", ") || "none is connected"], ...told]} />
    </Panel>
  );
}

/** As whom the endpoints of a service show themselves, and how long their certificates last. */
export function IdentityOf({ endpoints }: { endpoints: Endpoint[] }) {
  const identities = useGet<List<Identity>>("/identities", { limit: 1000 }, 30_000);
  const own = new Set(endpoints.map((endpoint) => endpoint.identity).filter((name) => name !== null));
  const without = endpoints.filter((endpoint) => endpoint.identity === null);
  if (own.size === 0) {
    return (
      <div className="panel">
        <EmptyFirst icon="security" title="It has no identity">
          <p>None of its endpoints has a proxy of this mesh, so nothing vouches for who answers.</p>
        </EmptyFirst>
      </div>
    );
  }
  return (
    <View of={identities}>
      {({ items }) => {
        const found = items.filter((item) => own.has(item.identity));
        const foreign = [...own].filter((name) => !items.some((item) => item.identity === name));
        return (
          <div className="grid gap-4">
            {found.map((identity) => <One key={identity.identity} identity={identity} />)}
            {foreign.length > 0 && (
              <Panel title="Vouched for by others">
                <ul className="grid gap-1">{foreign.map((name) => <li key={name}><code className="mono break-all">{name}</code></li>)}</ul>
              </Panel>
            )}
            {without.length > 0 && (
              <Panel title="Endpoints without an identity">
                <p className="text-soft">{without.map((endpoint) => `${endpoint.address}:${endpoint.port}`).join(", ")}</p>
              </Panel>
            )}
          </div>
        );
      }}
    </View>
  );
}
