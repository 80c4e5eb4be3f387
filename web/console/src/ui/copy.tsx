import { Fragment, useEffect, useRef, useState } from "react";
import { type Call, curl } from "../api/client";
import { Icon } from "./icons";

async function toClipboard(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}

export function CopyButton({ text, label }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return undefined;
    const timer = setTimeout(() => setCopied(false), 1_500);
    return () => clearTimeout(timer);
  }, [copied]);
  return (
    <button type="button" className="button quiet small" aria-label={label ? undefined : "Copy"} onClick={() => void toClipboard(text).then(setCopied)}>
      <Icon name={copied ? "ok" : "copy"} size={14} />
      {label && <span>{copied ? "Copied" : label}</span>}
      <span className="sr-only" aria-live="polite">
        {copied ? "Copied" : ""}
      </span>
    </button>
  );
}

interface Action {
  cli?: string;
  path: string;
  options?: Call;
}

/** The same action for a shell: as a weft command where there is one, and as a call of the API; and others beside it. */
export function CopyAs({ more = [], ...first }: Action & { more?: Action[] }) {
  const box = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = (event: Event) => {
      if (event instanceof KeyboardEvent ? event.key === "Escape" : !box.current?.contains(event.target as Node)) {
        box.current?.removeAttribute("open");
      }
    };
    document.addEventListener("click", close);
    document.addEventListener("keydown", close);
    return () => {
      document.removeEventListener("click", close);
      document.removeEventListener("keydown", close);
    };
  }, []);
  return (
    <details ref={box} className="relative">
      <summary className="button list-none [&::-webkit-details-marker]:hidden">
        <Icon name="copy" size={14} />
        Copy as
      </summary>
      <div className="panel absolute right-0 z-20 mt-1 w-[480px] max-w-[80vw] p-3 max-sm:fixed max-sm:inset-x-4 max-sm:w-auto max-sm:max-w-none shadow-[var(--shadow)]">
        {[first, ...more].map(({ cli, path, options }) => (
          <Fragment key={path}>
            {cli && <Line name="CLI" text={cli} />}
            <Line name="curl" text={curl(path, options)} />
          </Fragment>
        ))}
      </div>
    </details>
  );
}

function Line({ name, text }: { name: string; text: string }) {
  return (
    <div className="mb-2 last:mb-0">
      <div className="mb-1 flex items-center justify-between text-xs font-semibold text-soft">
        {name}
        <CopyButton text={text} label="Copy" />
      </div>
      <pre className="code max-h-40 whitespace-pre-wrap break-all">{text}</pre>
    </div>
  );
}
