/** What a new object may begin with. */
export const TEMPLATES: { name: string; text: string }[] = [
  {
    name: "Nothing",
    text: "",
  },
  {
    name: "VirtualService",
    text: `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
  namespace: default
spec:
  hosts:
    - reviews
  http:
    - route:
        - destination:
            host: reviews
`,
  },
  {
    name: "DestinationRule",
    text: `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
  namespace: default
spec:
  host: reviews
  subsets:
    - name: v1
      labels:
        version: v1
`,
  },
  {
    name: "ServiceEntry",
    text: `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: example
  namespace: default
spec:
  hosts:
    - example.com
  location: MESH_EXTERNAL
  resolution: DNS
  ports:
    - number: 443
      name: tls
      protocol: TLS
`,
  },
  {
    name: "PeerAuthentication",
    text: `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata:
  name: default
  namespace: default
spec:
  mtls:
    mode: STRICT
`,
  },
];
