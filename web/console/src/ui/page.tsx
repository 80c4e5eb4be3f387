import { type ReactNode, useEffect } from "react";
import { Tabs as Radix } from "radix-ui";
import { useParam } from "../lib/params";
import { Icon } from "./icons";

/** The head of each page: what it is, and what can be done. */
export function Page({ title, about, actions, children }: { title: ReactNode; about?: ReactNode; actions?: ReactNode; children: ReactNode }) {
  const text = typeof title === "string" ? title : undefined;
  useEffect(() => {
    if (text) document.title = `${text} · weft`;
  }, [text]);
  return (
    <div className="mx-auto w-full max-w-[1440px] px-4 pt-4 pb-8 sm:px-6 sm:pt-5">
      <div className="mb-4 flex min-h-8 flex-wrap items-start gap-x-4 gap-y-2">
        <div className="min-w-56 flex-1">
          <h1 className="text-xl leading-8 font-semibold break-words">{title}</h1>
          {about && <div className="text-soft">{about}</div>}
        </div>
        {actions && <div className="flex flex-wrap items-center gap-2">{actions}</div>}
      </div>
      {children}
    </div>
  );
}

export function Panel({ title, actions, children, flush, className = "" }: { title?: ReactNode; actions?: ReactNode; children: ReactNode; flush?: boolean; className?: string }) {
  return (
    <section className={`panel ${className}`}>
      {title && (
        <div className="panel-title flex-wrap py-1">
          <h2 className="min-w-0 flex-1">{title}</h2>
          {actions}
        </div>
      )}
      <div className={flush ? "" : "p-4"}>{children}</div>
    </section>
  );
}

/** A figure with its name; the tone has a shape of its own beside it. */
export function Figure({ name, value, note, children }: { name: string; value: ReactNode; note?: ReactNode; children?: ReactNode }) {
  return (
    <div className="panel min-w-0 px-4 py-3">
      <div className="text-xs font-medium text-soft">{name}</div>
      <div className="mt-1 flex flex-wrap items-baseline gap-x-2">
        <span className="text-2xl leading-8 font-semibold tabular-nums">{value}</span>
        {note && <span className="min-w-0 text-soft">{note}</span>}
      </div>
      {children}
    </div>
  );
}

export function Filter({ value, set, label, children }: { value: string; set: (value: string) => void; label: string; children?: ReactNode }) {
  return (
    <div className="flex flex-wrap items-center gap-2 border-b border-line p-3">
      <div className="relative w-72 max-w-full">
        <span className="pointer-events-none absolute top-2 left-2 text-soft">
          <Icon name="search" />
        </span>
        <input
          data-filter=""
          className="field w-full pr-8 pl-8"
          aria-label={label}
          placeholder={label}
          value={value}
          onChange={(event) => set(event.target.value)}
          onKeyDown={(event) => event.key === "Escape" && (value ? set("") : event.currentTarget.blur())}
        />
        <kbd className="kbd absolute top-[6px] right-2" aria-hidden="true">
          /
        </kbd>
      </div>
      {children}
    </div>
  );
}

export interface Tab {
  key: string;
  title: string;
  count?: number;
  body: () => ReactNode;
}

/** Tabs whose choice is in the address; `[` and `]` go to the neighbours. */
export function Tabs({ tabs, param = "tab" }: { tabs: Tab[]; param?: string }) {
  const [chosen, choose] = useParam(param, tabs[0]?.key ?? "");
  const at = Math.max(0, tabs.findIndex((tab) => tab.key === chosen));
  useEffect(() => {
    const step = (event: Event) => {
      const next = tabs[at + (event as CustomEvent<number>).detail];
      if (next) choose(next.key);
    };
    document.addEventListener("weft:tab", step);
    return () => document.removeEventListener("weft:tab", step);
  });
  const tab = tabs[at];
  if (!tab) return null;
  return (
    <Radix.Root value={tab.key} onValueChange={choose}>
      <Radix.List className="mb-4 flex overflow-x-auto border-b border-line">
        {tabs.map((each) => (
          <Radix.Trigger key={each.key} value={each.key} className="tab -mb-px">
            {each.title}
            {each.count !== undefined && <span className="ml-1.5 text-xs text-soft tabular-nums">{each.count}</span>}
          </Radix.Trigger>
        ))}
      </Radix.List>
      <Radix.Content value={tab.key} tabIndex={-1}>
        {tab.body()}
      </Radix.Content>
    </Radix.Root>
  );
}

/** Pairs of a name and a value. */
export function Facts({ rows }: { rows: [string, ReactNode][] }) {
  return (
    <dl className="grid grid-cols-[minmax(96px,max-content)_minmax(0,1fr)] gap-x-4 gap-y-2">
      {rows.map(([name, value]) => (
        <div key={name} className="contents">
          <dt className="text-soft">{name}</dt>
          <dd className="min-w-0 break-words">{value}</dd>
        </div>
      ))}
    </dl>
  );
}
