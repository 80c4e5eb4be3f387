/** Manifests as text and back. */
import { parseAllDocuments, stringify } from "yaml";
import type { Manifest } from "../api/types";

export function toYaml(manifests: Manifest[]): string {
  return manifests.map((manifest) => stringify(manifest, { lineWidth: 0, indentSeq: true })).join("---\n");
}

/** The documents of a text, or null where it is no YAML or no manifests. */
export function fromYaml(text: string): Manifest[] | null {
  try {
    const documents = parseAllDocuments(text);
    if (!Array.isArray(documents)) return [];
    const manifests: Manifest[] = [];
    for (const document of documents) {
      if (document.errors.length > 0) return null;
      const value: unknown = document.toJS();
      if (value === null || value === undefined) continue;
      if (typeof value !== "object" || typeof (value as Manifest).kind !== "string") return null;
      manifests.push(value as Manifest);
    }
    return manifests;
  } catch {
    return null;
  }
}
