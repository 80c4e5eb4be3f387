import { Fragment, type ReactNode } from "react";
import { Icon, type IconName } from "./icons";

export type Tone = "ok" | "warn" | "bad" | "info" | "plain";

const ICONS: Record<Tone, IconName> = { ok: "ok", warn: "warn", bad: "bad", info: "info", plain: "idle" };

/** Never colour alone: each tone has its own shape, and a word. */
export function Badge({ tone = "plain", icon, children, title }: { tone?: Tone; icon?: IconName | false; children: ReactNode; title?: string }) {
  return (
    <span className={`badge ${tone}`} title={title}>
      {icon === false ? null : <Icon name={icon ?? ICONS[tone]} size={12} />}
      {children}
    </span>
  );
}

/** A long name: it breaks after its parts, and within them only where there is no other way. */
export function Long({ children }: { children: string }) {
  return (
    <span className="mono break-words">
      {children.split(/(?<=[/|:,~])|(?=\.)/).map((part, at) => (
        <Fragment key={at}>
          {part}
          <wbr />
        </Fragment>
      ))}
    </span>
  );
}

const TONES: Record<string, Tone> = {
  healthy: "ok",
  synced: "ok",
  ready: "ok",
  online: "ok",
  ok: "ok",
  active: "ok",
  allowed: "ok",
  success: "ok",
  degraded: "warn",
  stale: "warn",
  syncing: "warn",
  warning: "warn",
  draining: "warn",
  pending: "warn",
  paused: "warn",
  failing: "bad",
  unhealthy: "bad",
  nack: "bad",
  error: "bad",
  denied: "bad",
  refused: "bad",
  offline: "bad",
  rejected: "bad",
  failed: "bad",
  info: "info",
};

export function toneOf(word: string | null | undefined): Tone {
  return TONES[(word ?? "").toLowerCase()] ?? "plain";
}

export function Status({ word }: { word: string | null | undefined }) {
  return <Badge tone={toneOf(word)}>{(word ?? "unknown").toLowerCase()}</Badge>;
}

/** How much of an edge's or service's traffic is mutually authenticated. */
export function Mtls({ ratio }: { ratio: number | null | undefined }) {
  if (ratio === null || ratio === undefined) return <Badge icon="unknown">unknown</Badge>;
  if (ratio >= 0.999) return <Badge tone="ok" icon="lock">mTLS</Badge>;
  if (ratio <= 0.001) return <Badge tone="warn" icon="unlock">plain text</Badge>;
  return <Badge tone="warn" icon="partial">{Math.round(ratio * 100)} % mTLS</Badge>;
}

export function errorTone(ratio: number | null | undefined): Tone {
  if (ratio === null || ratio === undefined) return "plain";
  if (ratio >= 0.05) return "bad";
  return ratio >= 0.01 ? "warn" : "ok";
}
