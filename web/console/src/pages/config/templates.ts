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
  {
    name: "AuthorizationPolicy",
    text: `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: reviews
  namespace: default
spec:
  selector:
    matchLabels:
      app: reviews
  action: ALLOW
  rules:
    - from:
        - source:
            principals:
              - cluster.local/ns/default/sa/bookinfo-productpage
      to:
        - operation:
            methods: [GET]
`,
  },
  {
    name: "RequestAuthentication",
    text: `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata:
  name: reviews
  namespace: default
spec:
  selector:
    matchLabels:
      app: reviews
  jwtRules:
    - issuer: https://issuer.example.com
      jwksUri: https://issuer.example.com/jwks.json
`,
  },
  {
    name: "Gateway",
    text: `apiVersion: networking.istio.io/v1
kind: Gateway
metadata:
  name: web
  namespace: default
spec:
  selector:
    istio: ingressgateway
  servers:
    - hosts:
        - www.example.com
      port:
        number: 8080
        name: http
        protocol: HTTP
`,
  },
  {
    name: "WorkloadEntry",
    text: `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: reviews-vm
  namespace: default
spec:
  address: 10.0.0.7
  labels:
    app: reviews
    version: v4
  serviceAccount: reviews
`,
  },
  {
    name: "WorkloadGroup",
    text: `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata:
  name: reviews
  namespace: default
spec:
  metadata:
    labels:
      app: reviews
  template:
    serviceAccount: reviews
    ports:
      http: 9080
`,
  },
  {
    name: "Telemetry",
    text: `apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata:
  name: default
  namespace: default
spec:
  tracing:
    - randomSamplingPercentage: 10
`,
  },
  {
    name: "MeshConfig",
    text: `apiVersion: mesh.weft.dev/v1alpha1
kind: MeshConfig
metadata:
  name: default
  namespace: istio-system
spec:
  accessLogFile: /dev/stdout
`,
  },
];
