/** The rules of a service as steps that can be drawn: which requests, what is done to them, where they go. Pure. */

export interface Target {
  host: string;
  subset: string;
  port: number | null;
  /** Of the requests of this step, 0 to 1. */
  share: number;
}

export interface Step {
  protocol: "http" | "tls" | "tcp";
  name: string;
  /** One of these must hold, each with all of its parts; none: every request. */
  when: string[][];
  targets: Target[];
  /** What else the rule does: timeouts, faults, mirrors, … */
  does: string[];
}

type Dict = Record<string, unknown>;

const dict = (value: unknown): Dict => (value && typeof value === "object" && !Array.isArray(value) ? (value as Dict) : {});
const list = (value: unknown): Dict[] => (Array.isArray(value) ? value.map(dict) : []);
const words = (value: unknown): string => (typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? String(value) : JSON.stringify(value));

const NAMES: Record<string, string> = { uri: "path", authority: "host", sniHosts: "server name", destinationSubnets: "address", sourceNamespace: "caller in namespace", sourceLabels: "caller with labels" };

/** Istio's StringMatch. */
function matched(name: string, value: unknown): string {
  const { exact, prefix, regex } = dict(value);
  if (exact !== undefined) return `${name} is ${words(exact)}`;
  if (prefix !== undefined) return `${name} begins with ${words(prefix)}`;
  if (regex !== undefined) return `${name} matches ${words(regex)}`;
  return `${name} is there`;
}

function condition(match: Dict): string[] {
  return Object.entries(match).flatMap(([key, value]) => {
    if (key === "name" || key === "ignoreUriCase" || key === "statPrefix") return [];
    if (key === "headers") return Object.entries(dict(value)).map(([name, each]) => matched(`header ${name}`, each));
    if (key === "queryParams") return Object.entries(dict(value)).map(([name, each]) => matched(`parameter ${name}`, each));
    if (key === "withoutHeaders") return Object.entries(dict(value)).map(([name, each]) => `not: ${matched(`header ${name}`, each)}`);
    if (["uri", "scheme", "method", "authority"].includes(key)) return [matched(NAMES[key] ?? key, value)];
    if (Array.isArray(value)) return [`${NAMES[key] ?? key} ${value.map(words).join(" or ")}`];
    if (key === "sourceLabels") return [`${NAMES[key]} ${Object.entries(dict(value)).map(([name, each]) => `${name}=${words(each)}`).join(", ")}`];
    return [`${NAMES[key] ?? key} ${words(value)}`];
  });
}

function target(route: Dict, total: number, count: number): Target {
  const destination = dict(route.destination);
  const weight = typeof route.weight === "number" ? route.weight : 0;
  const port = dict(destination.port).number;
  return { host: words(destination.host ?? ""), subset: typeof destination.subset === "string" ? destination.subset : "", port: typeof port === "number" ? port : null, share: total > 0 ? weight / total : 1 / count };
}

function targets(rule: Dict): Target[] {
  const routes = list(rule.route);
  const total = routes.reduce((all, route) => all + (typeof route.weight === "number" ? route.weight : 0), 0);
  return routes.map((route) => target(route, total, routes.length));
}

function place(destination: unknown): string {
  const { host, subset } = dict(destination);
  return `${words(host ?? "")}${subset ? `, ${words(subset)}` : ""}`;
}

const percent = (value: unknown, fallback: number): string => `${words(dict(value).value ?? fallback)} %`;

/** Of a redirect or rewrite: host and path, as far as they are said. */
const address = (value: unknown): string => [dict(value).authority, dict(value).uri].filter(Boolean).map(words).join("") || words(value);

function done(rule: Dict): string[] {
  const all: string[] = [];
  const { redirect, directResponse, rewrite, delegate } = rule;
  if (redirect) all.push(`redirected to ${address(redirect)}`);
  if (directResponse) all.push(`answered with ${words(dict(directResponse).status)}`);
  if (delegate) all.push(`handed to ${words(dict(delegate).namespace ?? "")}/${words(dict(delegate).name ?? "")}`);
  if (rewrite) all.push(`rewritten to ${address(rewrite)}`);
  if (rule.timeout) all.push(`timeout ${words(rule.timeout)}`);
  if (rule.retries) all.push(`${words(dict(rule.retries).attempts ?? 2)} retries`);
  const { abort, delay } = dict(rule.fault);
  if (abort) all.push(`fault: ${percent(dict(abort).percentage, 100)} get ${words(dict(abort).httpStatus ?? dict(abort).grpcStatus ?? "an error")}`);
  if (delay) all.push(`fault: ${percent(dict(delay).percentage, 100)} wait ${words(dict(delay).fixedDelay)}`);
  if (rule.mirror) all.push(`${percent(rule.mirrorPercentage, 100)} mirrored to ${place(rule.mirror)}`);
  for (const mirror of list(rule.mirrors)) all.push(`${percent(mirror.percentage, 100)} mirrored to ${place(mirror.destination)}`);
  if (rule.headers) all.push("headers changed");
  if (rule.corsPolicy) all.push("CORS");
  return all;
}

/** `http`, `tls` and `tcp` of a VirtualService, in the order in which they are looked at. */
export function steps(rules: Record<string, unknown>): Step[] {
  return (["http", "tls", "tcp"] as const).flatMap((protocol) =>
    list(rules[protocol]).map((rule) => ({
      protocol,
      name: typeof rule.name === "string" ? rule.name : "",
      when: list(rule.match).map(condition),
      targets: targets(rule),
      does: done(rule),
    })),
  );
}
