import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, foldGutter, foldKeymap, HighlightStyle, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { type Diagnostic, lintGutter, setDiagnostics } from "@codemirror/lint";
import { MergeView } from "@codemirror/merge";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { Annotation, EditorState, type Extension } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { useEffect, useRef } from "react";
import type { Finding } from "../api/client";
import { advice } from "../lib/lines";

const COLOURS = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--accent)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--ok)" },
  { tag: [tags.number, tags.bool, tags.null, tags.keyword], color: "var(--warn)" },
  { tag: [tags.comment, tags.meta], color: "var(--soft)", fontStyle: "italic" },
  { tag: tags.separator, color: "var(--soft)" },
]);

const LOOKS = EditorView.theme({
  "&": { height: "100%", fontSize: "12px", backgroundColor: "var(--panel)", color: "var(--ink)" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--font-mono)", lineHeight: "20px" },
  ".cm-gutters": { backgroundColor: "var(--panel)", color: "var(--soft)", border: "none" },
  ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--raised) 60%, transparent)" },
  ".cm-activeLineGutter": { backgroundColor: "var(--raised)" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": { background: "var(--accent-soft) !important" },
  ".cm-panels, .cm-tooltip": { backgroundColor: "var(--raised)", color: "var(--ink)", border: "1px solid var(--line)" },
  ".cm-diagnostic": { padding: "4px 8px", fontFamily: "system-ui, sans-serif" },
  // In place of the pictures that the editor brings along: the page's policy lets in none that are data.
  ".cm-lintRange-error": { backgroundImage: "none", textDecoration: "underline wavy var(--bad)" },
  ".cm-lintRange-warning": { backgroundImage: "none", textDecoration: "underline wavy var(--warn)" },
  ".cm-lintRange-info, .cm-lintRange-hint": { backgroundImage: "none", textDecoration: "underline dotted var(--accent)" },
  ".cm-lint-marker": { width: "8px", height: "8px", margin: "6px 3px", borderRadius: "4px" },
  ".cm-lint-marker-error": { content: "normal", backgroundColor: "var(--bad)" },
  ".cm-lint-marker-warning": { content: "normal", backgroundColor: "var(--warn)", borderRadius: "0" },
  ".cm-lint-marker-info": { content: "normal", backgroundColor: "var(--accent)" },
  ".cm-foldPlaceholder": { backgroundColor: "var(--raised)", border: "none", color: "var(--soft)" },
  ".cm-changedText": { background: "color-mix(in srgb, var(--accent) 25%, transparent) !important" },
  ".cm-deletedChunk, &.cm-merge-a .cm-changedLine": { backgroundColor: "var(--bad-soft)" },
  "&.cm-merge-b .cm-changedLine": { backgroundColor: "var(--ok-soft)" },
  ".cm-collapsedLines": { background: "var(--raised)", color: "var(--soft)" },
});

function basics(label: string): Extension[] {
  return [lineNumbers(), foldGutter(), yaml(), syntaxHighlighting(COLOURS), bracketMatching(), drawSelection(), LOOKS, EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0" })];
}

/** On a text that comes from without: that is no change which somebody made here. */
const given = Annotation.define<boolean>();

/**
 * Text over a selection is put in here. Left to the browser, it would carry the looks of what it takes the place of along
 * as inline styles, which the page's policy refuses.
 */
const typed = EditorView.domEventHandlers({
  beforeinput(event, view) {
    if (event.inputType !== "insertText" || !event.data || event.isComposing || view.state.readOnly || view.state.selection.main.empty) return false;
    event.preventDefault();
    view.dispatch(view.state.replaceSelection(event.data), { userEvent: "input.type", scrollIntoView: true });
    return true;
  },
});

/** A root of its own: there the editor's styles are constructed sheets, which the page's policy allows. */
function useShadow(build: (root: ShadowRoot, place: HTMLElement) => () => void, again: unknown[]) {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = host.current;
    if (!element) return undefined;
    const root = element.shadowRoot ?? element.attachShadow({ mode: "open" });
    const place = document.createElement("div");
    place.style.height = "100%";
    root.replaceChildren(place);
    return build(root, place);
  }, again);
  return host;
}

interface Props {
  value: string;
  label: string;
  change?: (text: string) => void;
  findings?: Finding[];
  readOnly?: boolean;
  check?: () => void;
  apply?: () => void;
}

function diagnostics(view: EditorView, findings: Finding[]): Diagnostic[] {
  const { doc } = view.state;
  return findings.map((found) => {
    const line = doc.line(Math.min(Math.max(found.line ?? 1, 1), doc.lines));
    const from = Math.min(line.from + Math.max((found.column ?? 1) - 1, 0), line.to);
    const to = Math.max(from, line.to);
    return { from, to, severity: found.severity === "warning" ? "warning" : found.severity === "info" ? "info" : "error", message: [found.detail, found.suggestion && advice(found.suggestion)].filter(Boolean).join(" · ") };
  });
}

export default function Editor({ value, label, change, findings, readOnly, check, apply }: Props) {
  const view = useRef<EditorView | null>(null);
  const calls = useRef({ change, check, apply });
  calls.current = { change, check, apply };
  const host = useShadow(
    (root, place) => {
      const keys = keymap.of([
        { key: "Mod-s", preventDefault: true, run: () => (calls.current.check?.(), true) },
        { key: "Mod-Enter", preventDefault: true, run: () => (calls.current.apply?.(), true) },
      ]);
      const state = EditorState.create({
        doc: value,
        extensions: [
          keys,
          typed,
          basics(label),
          lintGutter(),
          history(),
          indentOnInput(),
          highlightActiveLine(),
          highlightSelectionMatches(),
          keymap.of([...defaultKeymap, ...historyKeymap, ...searchKeymap, ...foldKeymap]),
          EditorState.readOnly.of(Boolean(readOnly)),
          EditorView.updateListener.of((update) => {
            if (update.docChanged && !update.transactions.some((each) => each.annotation(given))) calls.current.change?.(update.state.doc.toString());
          }),
        ],
      });
      const made = new EditorView({ state, parent: place, root });
      view.current = made;
      const edit = () => made.focus();
      document.addEventListener("weft:edit", edit);
      return () => {
        document.removeEventListener("weft:edit", edit);
        made.destroy();
        view.current = null;
      };
    },
    [label, readOnly],
  );
  useEffect(() => {
    const editor = view.current;
    if (editor && editor.state.doc.toString() !== value) editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: value }, annotations: given.of(true) });
  }, [value]);
  useEffect(() => {
    const editor = view.current;
    if (editor) editor.dispatch(setDiagnostics(editor.state, diagnostics(editor, findings ?? [])));
  }, [findings]);
  return <div ref={host} className="h-full min-h-0 rounded-md focus-within:outline-2 focus-within:-outline-offset-2 focus-within:outline-accent" data-editor="" />;
}

/** Two texts side by side. */
export function Compare({ before, after }: { before: string; after: string }) {
  const host = useShadow(
    (root, place) => {
      const still = [EditorState.readOnly.of(true), EditorView.lineWrapping];
      const merge = new MergeView({
        a: { doc: before, extensions: [...basics("Before"), ...still] },
        b: { doc: after, extensions: [...basics("After"), ...still] },
        parent: place,
        root,
        collapseUnchanged: { margin: 3, minSize: 6 },
        gutter: true,
      });
      return () => merge.destroy();
    },
    [before, after],
  );
  return <div ref={host} className="max-h-[60vh] overflow-auto" />;
}
