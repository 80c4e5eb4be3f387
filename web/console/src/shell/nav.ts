import type { IconName } from "../ui/icons";

export interface Place {
  path: string;
  title: string;
  icon: IconName;
  /** After `g`. */
  key: string;
  /** What else it may be looked for by. */
  words?: string;
}

/** The pages of the console. */
export const PLACES: Place[] = [
  { path: "/", title: "Home", icon: "home", key: "h", words: "problems overview" },
  { path: "/topology", title: "Topology", icon: "topology", key: "t", words: "graph map traffic" },
  { path: "/services", title: "Services", icon: "services", key: "s", words: "hosts endpoints" },
  { path: "/proxies", title: "Proxies", icon: "proxies", key: "p", words: "sidecars gateways sync nack" },
  { path: "/traces", title: "Traces", icon: "traces", key: "e", words: "spans requests slow errors" },
  { path: "/config", title: "Configuration", icon: "config", key: "c", words: "rules yaml virtualservice destinationrule" },
  { path: "/registries", title: "Registries", icon: "registries", key: "r", words: "platforms consul kubernetes conflicts" },
  { path: "/machines", title: "Machines", icon: "machines", key: "m", words: "vm members join tokens" },
  { path: "/security", title: "Security", icon: "security", key: "i", words: "mtls identities certificates authority policies matrix" },
  { path: "/control-plane", title: "Control plane", icon: "control", key: "o", words: "pilot push nack versions" },
  { path: "/activity", title: "Activity", icon: "activity", key: "a", words: "history audit revisions rollback" },
  { path: "/access", title: "Access", icon: "access", key: "u", words: "tokens roles users" },
];
