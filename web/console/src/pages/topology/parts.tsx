import { BaseEdge, type Edge, EdgeLabelRenderer, type EdgeProps, getBezierPath, Handle, type Node, type NodeProps, Position } from "@xyflow/react";
import { memo } from "react";
import type { GraphEdge, GraphNode } from "../../api/types";
import { milliseconds, percent, plural, rate } from "../../lib/format";
import { deniedShare, edgeTone, type Tone } from "../../lib/graph";
import { along } from "../../lib/labels";
import { HEAD, HEIGHT, WIDTH } from "../../lib/layout";
import { Icon, type IconName } from "../../ui/icons";
import { toneOf } from "../../ui/status";

export type NodeData = Node<{ node: GraphNode; chosen: boolean; dim: boolean; upstreams: number; down: boolean }, "service" | "frame">;
export type EdgeData = Edge<{ edge: GraphEdge; chosen: boolean; dim: boolean; still: boolean; bare: boolean; mute: boolean; down: boolean; words: number }, "traffic">;

const KINDS: Record<GraphNode["kind"], IconName> = { service: "services", version: "split", workload: "machines", gateway: "out", external: "right", unknown: "unknown" };
const HEALTH_ICON: Record<string, IconName> = { healthy: "ok", degraded: "warn", failing: "bad", idle: "idle", unknown: "unknown" };
const TEXT: Record<string, string> = { ok: "text-ok", warn: "text-warn", bad: "text-bad", plain: "text-soft", info: "text-accent" };
const BORDER: Record<string, string> = { ok: "border-l-ok", warn: "border-l-warn", bad: "border-l-bad", plain: "border-l-edge", info: "border-l-edge" };

export const ServiceNode = memo(function ServiceNode({ data: { node, chosen, dim, upstreams, down } }: NodeProps<NodeData>) {
  const tone = toneOf(node.health);
  const split = node.versions.filter((version) => version.version);
  const total = split.reduce((all, version) => all + (version.requests_per_second ?? 0), 0);
  return (
    <>
      <Handle type="target" position={down ? Position.Top : Position.Left} className="invisible" />
      <button
        type="button"
        data-node={node.id}
        aria-pressed={chosen}
        style={{ width: WIDTH, height: HEIGHT }}
        className={`nopan pointer-events-auto flex flex-col rounded-lg border border-l-4 bg-panel px-3 py-2 text-left transition-opacity ${BORDER[tone]} ${chosen ? "border-accent shadow-[0_0_0_1px_var(--accent)]" : "border-line"} ${dim ? "opacity-30" : ""}`}
      >
        <span className="flex w-full items-center gap-2">
          <span className="text-soft">
            <Icon name={KINDS[node.kind]} size={14} />
          </span>
          <span className="clip flex-1 font-semibold">{node.name}</span>
          <span className={TEXT[tone]}>
            <Icon name={HEALTH_ICON[node.health] ?? "unknown"} size={14} label={node.health} />
          </span>
        </span>
        <span className="clip w-full text-[13px] leading-4 tabular-nums">
          <Rates node={node} />
        </span>
        <span className="clip mt-auto w-full text-[13px] leading-4 text-soft">
          {split.length > 1
            ? split.map(({ version, requests_per_second: share }) => `${version} ${total > 0 ? `${Math.round(((share ?? 0) / total) * 100)} %` : ""}`).join(" · ")
            : node.members
              ? `${plural(node.members, "service")} · open`
              : [node.namespace, ...node.platforms].filter(Boolean).join(" · ")}
        </span>
        <span className="sr-only">{plural(upstreams, "upstream")}</span>
      </button>
      <Handle type="source" position={down ? Position.Bottom : Position.Right} className="invisible" />
    </>
  );
});

/** What is known of its traffic; how long calls took only where that is known of it alone. */
function Rates({ node, short }: { node: GraphNode; short?: boolean }) {
  const p95 = node.latency_ms?.p95;
  const errors = node.error_ratio === null || (short && node.error_ratio < 0.001) ? null : `${percent(node.error_ratio)} err`;
  return [`${rate(node.requests_per_second)}/s`, errors, p95 === null || p95 === undefined ? null : milliseconds(p95)].filter(Boolean).join(" · ");
}

/** A service around its versions. */
export const FrameNode = memo(function FrameNode({ width, height, data: { node, chosen, dim, upstreams, down } }: NodeProps<NodeData>) {
  const tone = toneOf(node.health);
  return (
    <>
      <Handle type="target" position={down ? Position.Top : Position.Left} style={down ? undefined : { top: HEAD / 2 }} className="invisible" />
      <div style={{ width, height }} className={`pointer-events-none rounded-xl border border-dashed bg-raised ${chosen ? "border-accent" : "border-edge"} ${dim ? "opacity-30" : ""}`}>
        <button type="button" data-node={node.id} aria-pressed={chosen} className="nopan pointer-events-auto mx-1 mt-1 flex max-w-[calc(100%-0.5rem)] items-center gap-2 rounded px-2 py-0.5 text-left">
          <span className={TEXT[tone]}>
            <Icon name={HEALTH_ICON[node.health] ?? "unknown"} size={14} label={node.health} />
          </span>
          <span className="font-semibold">{node.name}</span>
          <span className="clip text-xs text-soft tabular-nums">
            <Rates node={node} short />
          </span>
          <span className="sr-only">{plural(upstreams, "upstream")}</span>
        </button>
      </div>
      <Handle type="source" position={down ? Position.Bottom : Position.Right} style={down ? undefined : { top: HEAD / 2 }} className="invisible" />
    </>
  );
});

const COLOUR: Record<Tone, string> = { ok: "var(--edge)", idle: "var(--line)", warn: "var(--warn)", bad: "var(--bad)", denied: "var(--bad)" };
const LABEL: Record<Tone, string> = { ok: "text-soft", idle: "text-soft", warn: "text-warn", bad: "text-bad", denied: "text-bad" };

export function lockOf(edge: GraphEdge): IconName | null {
  if (edge.mtls_ratio === null) return null;
  return edge.mtls_ratio >= 0.999 ? "lock" : edge.mtls_ratio <= 0.001 ? "unlock" : "partial";
}

const LOCKS: Record<string, string> = { lock: "mutual TLS", unlock: "plain text", partial: "partly mutual TLS" };

export const TrafficEdge = memo(function TrafficEdge(props: EdgeProps<EdgeData>) {
  const { data, sourceX, sourceY, targetX, targetY } = props;
  if (!data) return null;
  const [sourcePosition, targetPosition] = data.down ? [Position.Bottom, Position.Top] : [Position.Right, Position.Left];
  const [path] = getBezierPath({ sourceX, sourceY, targetX, targetY, sourcePosition, targetPosition });
  const { x, y } = along({ x: sourceX, y: sourceY }, { x: targetX, y: targetY }, data.words, data.down);
  const { edge, chosen, dim, still, bare, mute } = data;
  const tone = edgeTone(edge);
  const traffic = (edge.requests_per_second ?? 0) + (edge.connections_per_second ?? 0);
  const width = bare ? 1 : Math.min(6, 1.5 + Math.log10(1 + traffic));
  const lock = lockOf(edge);
  const opacity = dim ? (bare ? 0.12 : 0.25) : bare ? 0.6 : 1;
  const seconds = Math.max(0.4, 1.6 / (1 + Math.log10(1 + traffic)));
  return (
    <>
      <BaseEdge path={path} style={{ stroke: chosen ? "var(--accent)" : COLOUR[tone], strokeWidth: width, opacity, strokeDasharray: tone === "denied" ? "6 5" : undefined }} interactionWidth={20} />
      {traffic > 0 && !still && tone !== "denied" && (
        <path d={path} fill="none" className="pointer-events-none" style={{ stroke: "var(--panel)", strokeWidth: Math.max(1, width - 1), strokeDasharray: "3 13", opacity, animation: `flow ${seconds}s linear infinite` }} />
      )}
      {!mute && <EdgeLabelRenderer>
        <button
          type="button"
          data-edge={edge.id}
          aria-pressed={chosen}
          className={`nopan pointer-events-auto absolute flex items-center gap-1 rounded border bg-panel px-1.5 py-0.5 text-[13px] leading-4 whitespace-nowrap tabular-nums ${chosen ? "border-accent" : tone === "bad" || tone === "denied" ? "border-bad" : "border-line"} ${LABEL[tone]}`}
          style={{ transform: `translate(-50%, ${data.down ? "-50%" : "-100%"}) translate(${x}px, ${data.down ? y : y - 6}px)`, opacity }}
        >
          {tone === "bad" || tone === "denied" ? <Icon name="bad" size={14} /> : tone === "warn" ? <Icon name="warn" size={14} /> : lock ? <Icon name={lock} size={14} /> : null}
          <span className="sr-only">{`${edge.source} to ${edge.destination}, ${edge.protocol}${lock ? `, ${LOCKS[lock]}` : ""}:`}</span>
          <span className="text-left">
            <span className="block">
              {tone === "denied" ? `denied ${percent(deniedShare(edge))}` : edge.protocol === "tcp" ? `${rate(edge.connections_per_second)} conn/s` : `${rate(edge.requests_per_second)}/s`}
              {tone !== "denied" && edge.error_ratio !== null && edge.error_ratio >= 0.01 && ` · ${percent(edge.error_ratio)}`}
            </span>
            {edge.latency_ms?.p95 !== null && edge.latency_ms?.p95 !== undefined && <span className="block">{milliseconds(edge.latency_ms.p95)}</span>}
          </span>
        </button>
      </EdgeLabelRenderer>}
    </>
  );
});
