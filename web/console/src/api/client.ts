/** The one way to the API: the session's cookie with its CSRF word. */

export interface Finding {
  severity?: "error" | "warning" | "info";
  code?: string;
  pointer?: string;
  path?: string;
  detail?: string;
  suggestion?: string | null;
  file?: string;
  line?: number;
  column?: number;
}

/** RFC 9457. */
export interface Problem {
  type?: string;
  title: string;
  status: number;
  detail?: string;
  code?: string;
  trace_id?: string;
  errors?: Finding[];
}

export class ApiError extends Error {
  readonly problem: Problem;
  constructor(problem: Problem) {
    super(problem.detail ?? problem.title);
    this.problem = problem;
  }
}

export type Query = Record<string, string | number | boolean | null | undefined>;

export interface Call {
  method?: string;
  query?: Query;
  body?: unknown;
  /** Sent as it is, instead of `body` as JSON. */
  text?: string;
  type?: string;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

let csrf: string | null = null;
const listeners = new Set<() => void>();

export const credentials = {
  set(next: { csrf?: string | null }) {
    csrf = next.csrf ?? null;
  },
  /** Called when the API no longer takes what it was shown. */
  onRefused(listener: () => void) {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  },
};

export const PREFIX = "/api/v1";

export function address(path: string, query?: Query): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== null && value !== undefined && value !== "" && value !== false) search.set(name, String(value));
  }
  const text = search.toString();
  return `${PREFIX}${path}${text ? `?${text}` : ""}`;
}

export async function raw(path: string, call: Call = {}): Promise<Response> {
  const headers: Record<string, string> = { accept: "application/json, application/problem+json", ...call.headers };
  if (csrf && call.method && call.method !== "GET") headers["x-weft-csrf"] = csrf;
  let body: string | undefined;
  if (call.text !== undefined) {
    body = call.text;
    headers["content-type"] = call.type ?? "application/yaml";
  } else if (call.body !== undefined) {
    body = JSON.stringify(call.body);
    headers["content-type"] = call.type ?? "application/json";
  }
  let response: Response;
  try {
    response = await fetch(address(path, call.query), {
      method: call.method ?? "GET",
      headers,
      body,
      signal: call.signal,
      credentials: "same-origin",
    });
  } catch (cause) {
    if (call.signal?.aborted) throw cause;
    throw new ApiError({
      title: "The control plane does not answer",
      status: 0,
      code: "unreachable",
      detail: "The connection failed. Proxies keep serving with their last configuration; the console tries again by itself.",
    });
  }
  if (!response.ok) throw new ApiError(await problem(response));
  return response;
}

async function problem(response: Response): Promise<Problem> {
  const text = await response.text();
  if (response.status === 401) for (const listener of listeners) listener();
  try {
    const found = JSON.parse(text) as Problem;
    if (typeof found.title === "string") return { ...found, status: response.status };
  } catch {
    // Not a problem document: the text itself is told.
  }
  const title = response.status >= 500 ? "The control plane failed" : "The request was refused";
  return { title, status: response.status, detail: text.slice(0, 400) || response.statusText };
}

export async function call<T>(path: string, options: Call = {}): Promise<T> {
  const response = await raw(path, options);
  const text = await response.text();
  return (text ? JSON.parse(text) : null) as T;
}

export const get = <T>(path: string, query?: Query, signal?: AbortSignal) => call<T>(path, { query, signal });

/** What a shell needs for the same call. */
export function curl(path: string, options: Call = {}): string {
  const parts = ["curl"];
  const method = options.method ?? "GET";
  if (method !== "GET") parts.push(`-X ${method}`);
  // As the CLI finds it.
  parts.push('-H "authorization: Bearer $(cat "${WEFT_TOKEN_FILE:-$HOME/.local/state/weft/token}")"');
  for (const [name, value] of Object.entries(options.headers ?? {})) parts.push(`-H ${quote(`${name}: ${value}`)}`);
  if (options.text !== undefined) {
    parts.push(`-H 'content-type: ${options.type ?? "application/yaml"}'`, `--data-binary ${quote(options.text)}`);
  } else if (options.body !== undefined) {
    parts.push(`-H 'content-type: application/json'`, `-d ${quote(JSON.stringify(options.body))}`);
  }
  parts.push(quote(`${location.origin}${address(path, options.query)}`));
  return parts.join(" ");
}

export function quote(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
