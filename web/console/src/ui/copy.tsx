import { type CSSProperties, Fragment, useEffect, useRef, useState } from "react";
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

const WIDTH = 480;
const GAP = 16;

/** Beside a button wherever there is more room, over whatever would cut it off. */
function below(button: DOMRect): CSSProperties {
  const { clientWidth: width, clientHeight: height } = document.documentElement;
  const right = Math.max(GAP, Math.min(width - button.right, width - WIDTH - GAP));
  const across = { right, width: Math.min(WIDTH, width - 2 * GAP) };
  const under = height - button.bottom;
  return under > button.top ? { ...across, top: button.bottom + 4, maxHeight: under - GAP } : { ...across, bottom: height - button.top + 4, maxHeight: button.top - GAP };
}

/** The same action for a shell: as a weft command where there is one, and as a call of the API; and others beside it. */
export function CopyAs({ more = [], small, ...first }: Action & { more?: Action[]; small?: boolean }) {
  const box = useRef<HTMLDetailsElement>(null);
  const [place, setPlace] = useState<CSSProperties>();
  useEffect(() => {
    const close = (event: Event) => {
      const closes = event instanceof KeyboardEvent ? event.key === "Escape" : event.type === "resize" || !box.current?.contains(event.target as Node);
      if (closes) box.current?.removeAttribute("open");
    };
    const events = ["click", "keydown", "resize", "scroll"];
    events.forEach((event) => window.addEventListener(event, close, true));
    return () => events.forEach((event) => window.removeEventListener(event, close, true));
  }, []);
  return (
    <details ref={box} onToggle={() => setPlace(box.current?.open ? below(box.current.getBoundingClientRect()) : undefined)}>
      <summary className={`button ${small ? "small" : ""} list-none [&::-webkit-details-marker]:hidden`}>
        <Icon name="copy" size={14} />
        Copy as
      </summary>
      <div className="panel fixed z-20 overflow-auto p-3 text-left shadow-[var(--shadow)]" style={place}>
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
