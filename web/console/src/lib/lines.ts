/** Where in a text of YAML the place is that a finding names by its path. Pure. */
import { type Document, isMap, isNode, isScalar, isSeq, LineCounter, type Node, parseAllDocuments } from "yaml";
import type { Finding } from "../api/client";

/** A finding, and the object that it is about where several are in one text. */
export interface Told extends Finding {
  object?: { kind: string; namespace: string; name: string };
}

/** RFC 6901, as a fragment or not: `#/spec/http/0`. */
function parts(pointer: string): string[] {
  return pointer.replace(/^#/, "").split("/").slice(1).map((part) => decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** Where the deepest part begins that is there: at its key, as that is what one looks for. */
function offset(root: Node | null, way: string[]): number | null {
  let at: Node | null = root;
  let found: number | null = null;
  for (const part of way) {
    if (isMap(at)) {
      const pair: { key: unknown; value: unknown } | undefined = at.items.find(({ key }) => isScalar(key) && String(key.value) === part);
      if (!pair) break;
      found = (pair.key as Node).range?.[0] ?? found;
      at = isNode(pair.value) ? pair.value : null;
    } else if (isSeq(at)) {
      const item: unknown = at.items[Number(part)];
      if (!isNode(item)) break;
      found = item.range?.[0] ?? found;
      at = item;
    } else break;
  }
  return found;
}

function isOf(document: Document, { kind, namespace, name }: NonNullable<Told["object"]>): boolean {
  const told = document.getIn(["metadata", "namespace"]);
  return document.get("kind") === kind && document.getIn(["metadata", "name"]) === name && (told === undefined || told === namespace);
}

/** Findings with the line of what they are about, where they came without. */
/** What to do, in words: a suggestion of one word is a name that may have been meant. */
export const advice = (suggestion: string) => (/\s/.test(suggestion) ? suggestion : `did you mean \`${suggestion}\`?`);

export function located(text: string, findings: Told[]): Finding[] {
  if (findings.every((found) => found.line)) return findings;
  const counter = new LineCounter();
  const parsed = parseAllDocuments(text, { lineCounter: counter });
  const documents = (Array.isArray(parsed) ? parsed : []).filter((document) => isMap(document.contents)) as Document[];
  return findings.map((found) => {
    if (found.line) return found;
    const document = found.object ? documents.find((each) => isOf(each, found.object as NonNullable<Told["object"]>)) : documents[0];
    if (!document) return found;
    const root = document.contents as Node;
    const at = offset(root, parts(found.pointer ?? "")) ?? root.range?.[0];
    if (at === undefined) return found;
    const { line, col } = counter.linePos(at);
    return { ...found, line, column: col };
  });
}
