/** The kinds of configuration, as paths name them. */
export const KINDS: { kind: string; plural: string; group: string }[] = [
  { kind: "VirtualService", plural: "virtualservices", group: "networking.istio.io/v1" },
  { kind: "DestinationRule", plural: "destinationrules", group: "networking.istio.io/v1" },
  { kind: "Gateway", plural: "gateways", group: "networking.istio.io/v1" },
  { kind: "ServiceEntry", plural: "serviceentries", group: "networking.istio.io/v1" },
  { kind: "WorkloadEntry", plural: "workloadentries", group: "networking.istio.io/v1" },
  { kind: "WorkloadGroup", plural: "workloadgroups", group: "networking.istio.io/v1" },
  { kind: "PeerAuthentication", plural: "peerauthentications", group: "security.istio.io/v1" },
  { kind: "RequestAuthentication", plural: "requestauthentications", group: "security.istio.io/v1" },
  { kind: "AuthorizationPolicy", plural: "authorizationpolicies", group: "security.istio.io/v1" },
  { kind: "Telemetry", plural: "telemetries", group: "telemetry.istio.io/v1" },
  { kind: "MeshConfig", plural: "meshconfigs", group: "mesh.weft.dev/v1alpha1" },
];

export const pluralOf = (kind: string): string => KINDS.find((each) => each.kind === kind || each.plural === kind)?.plural ?? kind.toLowerCase();

export const objectPath = (kind: string, namespace: string, name: string) =>
  `/${pluralOf(kind)}/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
