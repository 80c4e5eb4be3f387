import type { ReactNode } from "react";

/** Line icons on a 16-pixel grid; each stands beside a word or carries a label. */
const PATHS = {
  home: "M2.5 7.5 8 3l5.5 4.5M4 6.8V13h8V6.8",
  topology: "M3.5 5.5a1.75 1.75 0 1 0 0-3.5 1.75 1.75 0 0 0 0 3.5ZM12.5 9.7a1.75 1.75 0 1 0 0-3.5 1.75 1.75 0 0 0 0 3.5ZM3.5 14a1.75 1.75 0 1 0 0-3.5 1.75 1.75 0 0 0 0 3.5ZM5.1 4.5l5.8 2.7M5.1 11.5l5.8-2.8",
  services: "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.01M5 11h.01",
  proxies: "M8 2v3M8 11v3M2 8h3M11 8h3M5 5h6v6H5z",
  config: "M5.5 3 2 8l3.5 5M10.5 3 14 8l-3.5 5",
  registries: "M3 4c0-1.1 2.2-2 5-2s5 .9 5 2-2.2 2-5 2-5-.9-5-2ZM3 4v8c0 1.1 2.2 2 5 2s5-.9 5-2V4M3 8c0 1.1 2.2 2 5 2s5-.9 5-2",
  machines: "M2 3h12v8H2zM6 14h4M8 11v3",
  security: "M8 2 3 4v4c0 3 2.2 5.2 5 6 2.8-.8 5-3 5-6V4L8 2Z",
  control: "M8 5.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5ZM8 1.5v2M8 12.5v2M1.5 8h2M12.5 8h2M3.4 3.4l1.4 1.4M11.2 11.2l1.4 1.4M12.6 3.4l-1.4 1.4M4.8 11.2l-1.4 1.4",
  activity: "M2 8h3l2-5 3 10 2-5h2",
  access: "M5.5 10a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5ZM8 7.5h6M12 7.5V10",
  traces: "M2 4h7M5 8h7M8 12h6",
  tap: "M8 14V9M5.5 10.5a3.5 3.5 0 1 1 5 0M3.6 12.4a6.2 6.2 0 1 1 8.8 0",
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10ZM14 14l-3.4-3.4",
  sun: "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6ZM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1",
  moon: "M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7Z",
  lock: "M4 7.5h8V14H4zM5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5",
  unlock: "M4 7.5h8V14H4zM5.5 7.5V5a2.5 2.5 0 0 1 4.8-1",
  partial: "M4 7.5h8V14H4zM5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5M4 14l8-6.5",
  ok: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM5.3 8.2l2 1.9 3.5-4",
  warn: "M8 2 1.5 13.5h13L8 2ZM8 6.5v3.2M8 11.6v.2",
  bad: "M5.5 2h5L14 5.5v5L10.5 14h-5L2 10.5v-5L5.5 2ZM6 6l4 4M10 6l-4 4",
  info: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 7.5V11M8 5v.2",
  idle: "M8 13.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11ZM5.5 8h5",
  unknown: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM6.3 6.3A1.8 1.8 0 1 1 8 8.2V9M8 11v.2",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  close: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  right: "M6 3.5 10.5 8 6 12.5",
  down: "M3.5 6 8 10.5 12.5 6",
  up: "M3.5 10 8 5.5 12.5 10",
  left: "M10 3.5 5.5 8l4.5 4.5",
  pause: "M5.5 3v10M10.5 3v10",
  play: "M4.5 2.5v11l9-5.5z",
  table: "M2 3h12v10H2zM2 6.5h12M2 9.8h12M6.5 3v10",
  graph: "M2 13h12M4.5 13V8M8 13V4M11.5 13V6.5",
  plus: "M8 3v10M3 8h10",
  minus: "M3 8h10",
  out: "M6 2.5H2.5v11H6M10 5l3 3-3 3M13 8H6",
  menu: "M2 4h12M2 8h12M2 12h12",
  edit: "M3 13l.7-3L11 2.7l2.3 2.3L6 12.3 3 13Z",
  split: "M2 8h4l4-5h4M6 8l4 5h4M12 1.5 14 3l-2 1.5M12 11.5l2 1.5-2 1.5",
  clock: "M8 14A6 6 0 1 0 8 2a6 6 0 0 0 0 12ZM8 4.5V8l2.5 1.5",
  undo: "M6 3 2.5 6.5 6 10M3 6.5h6.5a4 4 0 0 1 0 8H7",
  fit: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name, size = 16, label }: { name: IconName; size?: number; label?: string }): ReactNode {
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth="1.4"
      strokeLinecap="round"
      strokeLinejoin="round"
      className="shrink-0"
      role={label ? "img" : undefined}
      aria-label={label}
      aria-hidden={label ? undefined : true}
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
