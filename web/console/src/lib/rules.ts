/**
 * The traffic rules of one service as a form, and back: what the form knows is read from the VirtualService and the
 * DestinationRule, and written into them without touching what it does not know.
 */
import type { Manifest } from "../api/types";

export interface Match {
  kind: "header" | "prefix";
  name: string;
  value: string;
}

export interface Rules {
  /** Per version, in percent, for requests that no match takes. */
  weights: Record<string, number>;
  /** The first rule with a match on one header or prefix, and the version that it leads to. */
  match: (Match & { version: string }) | null;
  timeout: string;
  retries: { attempts: number; perTryTimeout: string; retryOn: string } | null;
  abort: { percent: number; status: number } | null;
  delay: { percent: number; fixed: string } | null;
  mirror: { version: string; percent: number } | null;
  breaker: { maxConnections: number; maxPending: number; consecutiveErrors: number; interval: string; ejection: string } | null;
}

export interface Subject {
  name: string;
  namespace: string;
  host: string;
  versions: string[];
}

type Dict = Record<string, unknown>;

const dict = (value: unknown): Dict => (value && typeof value === "object" && !Array.isArray(value) ? (value as Dict) : {});
const list = (value: unknown): Dict[] => (Array.isArray(value) ? value.map(dict) : []);
const text = (value: unknown): string => (typeof value === "string" ? value : "");
const number = (value: unknown, fallback: number): number => (typeof value === "number" ? value : fallback);

/** Whether a host as a rule writes it is this service. */
export function means(host: unknown, namespace: string | undefined, subject: Subject): boolean {
  if (typeof host !== "string") return false;
  const [first] = subject.host.split(".");
  const short = host === subject.name || host === first;
  return host === subject.host || host === `${subject.name}.${subject.namespace}` || host === `${subject.name}.${subject.namespace}.svc` || (short && (namespace ?? "default") === subject.namespace);
}

export function isRoutesOf(manifest: Manifest, subject: Subject): boolean {
  const spec = dict(manifest.spec);
  const gateways = Array.isArray(spec.gateways) ? spec.gateways : ["mesh"];
  const hosts = Array.isArray(spec.hosts) ? spec.hosts : [];
  return manifest.kind === "VirtualService" && gateways.includes("mesh") && hosts.some((host) => means(host, manifest.metadata.namespace, subject));
}

export const isPolicyOf = (manifest: Manifest, subject: Subject) => manifest.kind === "DestinationRule" && means(dict(manifest.spec).host, manifest.metadata.namespace, subject);

const catchAll = (http: Dict[]): Dict | undefined => http.find((rule) => list(rule.match).length === 0);

function matchOf(rule: Dict | undefined): Match | null {
  const [match] = list(rule?.match);
  if (!match) return null;
  const prefix = text(dict(match.uri).prefix);
  if (prefix) return { kind: "prefix", name: "", value: prefix };
  const [header] = Object.entries(dict(match.headers));
  return header ? { kind: "header", name: header[0], value: text(dict(header[1]).exact) } : null;
}

const percentage = (fault: Dict, fallback: number) => number(dict(fault.percentage).value, fallback);

/** What the form shows of the manifests. */
export function read(manifests: Manifest[], subject: Subject): Rules {
  const http = list(dict(manifests.find((each) => isRoutesOf(each, subject))?.spec).http);
  const rule = catchAll(http) ?? {};
  const policy = dict(dict(manifests.find((each) => isPolicyOf(each, subject))?.spec).trafficPolicy);
  const routes = list(rule.route);
  const weights: Record<string, number> = Object.fromEntries(subject.versions.map((version) => [version, 0]));
  for (const route of routes) {
    const subset = text(dict(route.destination).subset);
    if (subset) weights[subset] = number(route.weight, routes.length === 1 ? 100 : 0);
  }
  const matched = http.find((each) => matchOf(each));
  const match = matchOf(matched);
  const retries = dict(rule.retries);
  const fault = dict(rule.fault);
  const [abort, delay] = [dict(fault.abort), dict(fault.delay)];
  const mirror = dict(rule.mirror);
  const outlier = dict(policy.outlierDetection);
  const pool = dict(policy.connectionPool);
  return {
    weights,
    match: match && { ...match, version: text(dict(list(matched?.route)[0]?.destination).subset) },
    timeout: text(rule.timeout),
    retries: rule.retries ? { attempts: number(retries.attempts, 2), perTryTimeout: text(retries.perTryTimeout), retryOn: text(retries.retryOn) } : null,
    abort: fault.abort ? { percent: percentage(abort, 100), status: number(abort.httpStatus, 503) } : null,
    delay: fault.delay ? { percent: percentage(delay, 100), fixed: text(delay.fixedDelay) } : null,
    mirror: rule.mirror ? { version: text(mirror.subset), percent: number(dict(rule.mirrorPercentage).value, 100) } : null,
    breaker:
      policy.outlierDetection || policy.connectionPool
        ? {
            maxConnections: number(dict(pool.tcp).maxConnections, 100),
            maxPending: number(dict(pool.http).http1MaxPendingRequests, 100),
            consecutiveErrors: number(outlier.consecutive5xxErrors, 5),
            interval: text(outlier.interval) || "10s",
            ejection: text(outlier.baseEjectionTime) || "30s",
          }
        : null,
  };
}

function put(target: Dict, key: string, value: unknown) {
  if (value === undefined || value === null || value === "") delete target[key];
  else target[key] = value;
}

const fresh = (kind: string, subject: Subject, spec: Dict): Manifest => ({
  apiVersion: "networking.istio.io/v1",
  kind,
  metadata: { name: subject.name, namespace: subject.namespace },
  spec,
});

function hasSubsets(rules: Rules): boolean {
  return Object.values(rules.weights).some((weight) => weight > 0) || Boolean(rules.match?.version) || Boolean(rules.mirror?.version);
}

function shares(rules: Rules, subject: Subject): Dict[] {
  const chosen = Object.entries(rules.weights).filter(([, weight]) => weight > 0);
  if (chosen.length === 0) return [{ destination: { host: subject.name } }];
  return chosen.map(([version, weight]) => ({ destination: { host: subject.name, subset: version }, weight }));
}

function writeRule(rule: Dict, rules: Rules, subject: Subject) {
  const before = list(rule.route);
  const wanted = shares(rules, subject);
  // What a destination says beside its subset and weight, a port for one, stays.
  rule.route = wanted.map((route) => {
    const kept = before.find((each) => text(dict(each.destination).subset) === text(dict(route.destination).subset));
    const one = { ...kept, ...route, destination: { ...dict(kept?.destination), ...dict(route.destination), host: dict(kept?.destination).host ?? subject.name } };
    if (wanted.length === 1) delete (one as Dict).weight;
    return one;
  });
  put(rule, "timeout", rules.timeout);
  put(rule, "retries", rules.retries && clean({ ...dict(rule.retries), ...rules.retries }));
  const fault = dict(rule.fault);
  put(fault, "abort", rules.abort && { percentage: { value: rules.abort.percent }, httpStatus: rules.abort.status });
  put(fault, "delay", rules.delay && { percentage: { value: rules.delay.percent }, fixedDelay: rules.delay.fixed });
  put(rule, "fault", Object.keys(fault).length > 0 ? fault : null);
  put(rule, "mirror", rules.mirror && clean({ host: subject.name, subset: rules.mirror.version }));
  put(rule, "mirrorPercentage", rules.mirror && { value: rules.mirror.percent });
}

const clean = (value: Dict): Dict => Object.fromEntries(Object.entries(value).filter(([, each]) => each !== "" && each !== undefined));

function writeMatch(http: Dict[], rules: Rules, subject: Subject): Dict[] {
  const at = http.findIndex((rule) => matchOf(rule));
  const { match } = rules;
  if (!match) return http.filter((_, index) => index !== at);
  const condition = match.kind === "prefix" ? { uri: { prefix: match.value } } : { headers: { [match.name]: { exact: match.value } } };
  const rule: Dict = { ...(at >= 0 ? http[at] : {}), match: [condition], route: [{ destination: clean({ host: subject.name, subset: match.version }) }] };
  return at >= 0 ? http.map((each, index) => (index === at ? rule : each)) : [rule, ...http];
}

/** The manifests as the form wants them. */
export function write(manifests: Manifest[], rules: Rules, subject: Subject): Manifest[] {
  const all = structuredClone(manifests);
  let policy = all.find((each) => isPolicyOf(each, subject));
  if (!policy && (hasSubsets(rules) || rules.breaker)) {
    policy = fresh("DestinationRule", subject, { host: subject.name });
    all.unshift(policy);
  }
  if (policy) writePolicy(policy, rules, subject);
  let routes = all.find((each) => isRoutesOf(each, subject));
  if (!routes) {
    routes = fresh("VirtualService", subject, { hosts: [subject.name], http: [] });
    all.push(routes);
  }
  const spec = { ...dict(routes.spec) };
  let http = list(spec.http);
  let rule = catchAll(http);
  if (!rule) {
    rule = {};
    http = [...http, rule];
  }
  writeRule(rule, rules, subject);
  spec.http = writeMatch(http, rules, subject);
  routes.spec = spec;
  return all;
}

function writePolicy(policy: Manifest, rules: Rules, subject: Subject) {
  const spec = { ...dict(policy.spec) };
  const known = list(spec.subsets);
  const missing = subject.versions.filter((version) => !known.some((subset) => subset.name === version));
  if (hasSubsets(rules) && missing.length > 0) spec.subsets = [...known, ...missing.map((version) => ({ name: version, labels: { version } }))];
  const traffic = { ...dict(spec.trafficPolicy) };
  const { breaker } = rules;
  const [pool, tcp, http, outlier] = [dict(traffic.connectionPool), dict(dict(traffic.connectionPool).tcp), dict(dict(traffic.connectionPool).http), dict(traffic.outlierDetection)];
  put(traffic, "connectionPool", breaker && { ...pool, tcp: { ...tcp, maxConnections: breaker.maxConnections }, http: { ...http, http1MaxPendingRequests: breaker.maxPending } });
  put(traffic, "outlierDetection", breaker && { ...outlier, consecutive5xxErrors: breaker.consecutiveErrors, interval: breaker.interval, baseEjectionTime: breaker.ejection });
  put(spec, "trafficPolicy", Object.keys(traffic).length > 0 ? traffic : null);
  policy.spec = spec;
}

/** One weight as it was set; the others share the rest as they did before. */
export function balance(weights: Record<string, number>, version: string, weight: number): Record<string, number> {
  const set = Math.max(0, Math.min(100, Math.round(weight)));
  const others = Object.keys(weights).filter((each) => each !== version);
  if (others.length === 0) return { [version]: 100 };
  const before = others.reduce((all, each) => all + (weights[each] ?? 0), 0);
  const rest = 100 - set;
  const result: Record<string, number> = { ...weights, [version]: set };
  let given = 0;
  others.forEach((each, index) => {
    const last = index === others.length - 1;
    const share = before > 0 ? Math.round((rest * (weights[each] ?? 0)) / before) : Math.round(rest / others.length);
    result[each] = last ? rest - given : Math.min(share, rest - given);
    given += result[each] ?? 0;
  });
  return result;
}
