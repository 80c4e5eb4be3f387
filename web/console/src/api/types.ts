/** The answers of the API, as far as the console reads them. */

export interface List<T> {
  items: T[];
  next?: string | null;
  total?: number;
  revision?: number;
}

export interface Latency {
  p50: number | null;
  p95: number | null;
  p99: number | null;
}

export type Health = "healthy" | "degraded" | "failing" | "idle" | "unknown";

export interface GraphNode {
  id: string;
  kind: "service" | "version" | "workload" | "gateway" | "external" | "unknown";
  /** The node of the service that this is a version of. */
  part_of?: string | null;
  namespace: string;
  name: string;
  host?: string | null;
  platforms: string[];
  versions: { version: string; requests_per_second: number | null }[];
  endpoints?: { ready: number; total: number } | null;
  requests_per_second: number | null;
  error_ratio: number | null;
  latency_ms: Latency | null;
  health: Health;
  /** Of a namespace that stands for its services: how many. */
  members?: number;
}

export interface GraphEdge {
  id: string;
  source: string;
  destination: string;
  protocol: string;
  requests_per_second: number | null;
  error_ratio: number | null;
  latency_ms: Latency | null;
  bytes_per_second?: { sent: number | null; received: number | null } | null;
  connections_per_second?: number | null;
  mtls_ratio: number | null;
  denied_per_second?: number | null;
  codes: Record<string, number>;
  versions: { version: string; requests_per_second: number | null; error_ratio: number | null }[];
  principals?: { source: string | null; destination: string | null } | null;
}

export interface Graph {
  at: number;
  window_seconds: number;
  nodes: GraphNode[];
  edges: GraphEdge[];
  reporting: { known: number; fresh: number; stale: string[] };
}

export interface Series {
  step_seconds: number;
  start: number;
  series: Record<"requests" | "errors" | "p50" | "p95" | "p99" | "bytes_sent" | "bytes_received", (number | null)[]>;
}

export interface Port {
  name: string;
  port: number;
  protocol: string;
}

export interface Count {
  healthy: number;
  total: number;
}

export interface Service {
  name: string;
  namespace: string;
  host: string;
  aliases: string[];
  ports: Port[];
  addresses: string[];
  automatic_addresses: string[];
  location: string;
  resolution: string;
  endpoints: Count;
  versions: string[];
  platforms: Record<string, Count>;
  registries: string[];
  stale?: boolean;
  health: Health;
  labels?: Record<string, string>;
  conflicts: string[];
}

export interface Endpoint {
  service: string;
  namespace: string;
  service_port: string;
  address: string;
  port: number;
  health: string;
  health_source: string;
  last_heartbeat: number | null;
  weight: number;
  mtls: boolean;
  identity: string | null;
  workload: string;
  version?: string;
  labels: Record<string, string>;
  locality: string;
  platform: string;
  stale: boolean;
  registry: string;
  object: string;
}

export interface Proxy {
  id: string;
  node: string;
  kind: string;
  namespace: string;
  workload: string;
  version: string;
  address: string | null;
  connected_at: number;
  identity: string | null;
  sync?: "synced" | "stale" | "nack";
  certificate?: { serial: string; issued: number; not_after: number; state: "valid" | "expiring" | "expired"; attested_by: string } | null;
  config_bytes?: number;
  types: Record<string, { state: string; error: string | null; resources: number }>;
  diagnostics: { code: string; object: string; message: string }[];
}

export interface Registry {
  name: string;
  kind?: string;
  state: string;
  reason: string | null;
  since: number;
  services: number;
  endpoints: number;
  forgotten: boolean;
  findings: string[];
}

export interface Registries extends List<Registry> {
  conflicts: { service: string; message: string }[];
}

export interface Member {
  id: string;
  namespace: string;
  service_account: string;
  token: string;
  joined: number;
  ended: string | null;
  workload_group: string | null;
  services: string[];
  ports: number[];
  addresses: string[];
  last_seen: number | null;
  version: string | null;
  os: string | null;
}

export interface JoinToken {
  id: string;
  namespace: string;
  service_account: string;
  created: number;
  expires: number;
  uses: number;
  used: number;
  expired: boolean;
  workload_group: string | null;
  services: string[];
}

export interface Trouble {
  code: string;
  severity: "error" | "warning" | "info";
  since?: number | null;
  title?: string;
  object?: string | null;
  namespace?: string | null;
  message: string;
  hint?: string | null;
  link?: string | null;
  muted?: { id: string; reason: string; until: number; author: string } | null;
}

export interface Overview {
  mesh: { name?: string; trust_domain: string; version: string; started_at: number };
  score: number | null;
  problems: { error: number; warning: number; info: number };
  proxies: { total: number; synced: number; stale: number; nack: number };
  services: { total: number; healthy: number; degraded: number; failing: number; unknown?: number };
  registries: Registry[];
  certificates: { expiring: { identity: string; not_after: number }[]; root_not_after?: number | null };
  first_run: boolean;
}

export interface Manifest {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; [key: string]: unknown };
  spec?: Record<string, unknown>;
  [key: string]: unknown;
}

export interface Resource {
  kind: string;
  namespace: string;
  name: string;
  created?: number;
  revision: number;
  provenance?: { file?: string; cluster?: string; author?: string };
  object: Manifest;
}

export interface Change {
  kind: string;
  namespace: string;
  name: string;
  change: "created" | "configured" | "deleted";
  diff?: string;
}

export interface Revision {
  revision: number;
  at: number;
  author: string;
  message: string;
  changes: Change[];
  diff?: string;
}

export type Decision = "allowed" | "denied" | "depends";

export interface MatrixRow {
  identity: string;
  workloads: string[];
  /** One for each service of the matrix. */
  cells: { decision: Decision; because: string }[];
}

export interface Matrix {
  callers: MatrixRow[];
  services: { host: string; namespace: string; port: number; http: boolean }[];
}

export interface Identity {
  identity: string;
  namespace: string;
  service_account: string;
  workloads: string[];
  proxies: string[];
  certificate: { serial: string; issued: number; not_after: number; state: string; attested_by: string } | null;
}

export interface Root {
  fingerprint: string;
  subject: string;
  serial: string;
  not_before: number;
  not_after: number;
  signs: boolean;
}

/** The change from one root of trust to the next. */
export interface Rotation {
  phase: "idle" | "staged" | "distributed" | "signing";
  holders: number;
  percent: number;
  waiting: { identity: string; member: string | null; lineage: string | null; from: string | null; reason: string; until: number }[];
  /** The next step is files that somebody puts into the authority's directory. */
  plugged_in: boolean;
  /** Why such files are not in force. */
  pending: string | null;
}

export interface Authority {
  trust_domain: string;
  roots: Root[];
  live_certificates: number;
  rotation: Rotation;
  /** What is wrong with the roots of trust at this control plane. */
  faults: string[];
}

/** The control plane that answers; counts are since it started. */
export interface ControlPlane {
  version: string;
  started_at: number;
  store: { kind: "embedded" | "shared" };
  configuration: { objects: number; accepted: number; refused: number };
  pushes: {
    connected: number;
    count: number;
    p50_ms: number | null;
    p95_ms: number | null;
    p99_ms: number | null;
    types: { type: string; sent: number; refused: number }[];
  };
  issuance: { signed: number; refused: number };
}
