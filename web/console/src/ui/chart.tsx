import { useEffect, useMemo, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clock } from "../lib/format";
import { useTheme } from "../lib/theme";

export interface Line {
  name: string;
  values: (number | null)[];
  /** A variable of the theme. */
  colour: "accent" | "bad" | "warn" | "ok" | "edge";
  dash?: number[];
}

/** Lines over time, and the same as a table for those who do not see pictures. */
export default function Chart({ title, start, step, lines, format, height = 140 }: { title: string; start: number; step: number; lines: Line[]; format: (value: number | null) => string; height?: number }) {
  const box = useRef<HTMLDivElement>(null);
  const theme = useTheme();
  const length = lines[0]?.values.length ?? 0;
  const times = useMemo(() => Array.from({ length }, (_, at) => start / 1000 + at * step), [length, start, step]);
  useEffect(() => {
    const place = box.current;
    if (!place || times.length === 0) return undefined;
    const style = getComputedStyle(document.documentElement);
    const colour = (name: string) => style.getPropertyValue(`--${name}`).trim();
    const font = `11px ${getComputedStyle(document.body).fontFamily}`;
    const axis = { stroke: colour("soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font };
    const plot = new uPlot(
      {
        width: Math.max(120, place.clientWidth),
        height,
        cursor: { y: false },
        legend: { show: false },
        scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), high && high > 0 ? high * 1.1 : 1] } },
        axes: [
          { ...axis, size: 24, values: (_, ticks) => ticks.map((tick) => clock(tick * 1000).slice(11, 16)), space: 72 },
          { ...axis, size: 60, values: (_, ticks) => ticks.map((tick) => format(tick)), space: 36 },
        ],
        series: [{}, ...lines.map((line) => ({ label: line.name, stroke: colour(line.colour), width: 1.5, dash: line.dash, spanGaps: false, points: { show: false } }))],
      },
      [times, ...lines.map((line) => line.values)],
      place,
    );
    const watch = new ResizeObserver(() => plot.setSize({ width: Math.max(120, place.clientWidth), height }));
    watch.observe(place);
    return () => {
      watch.disconnect();
      plot.destroy();
    };
  }, [times, lines, format, height, theme]);
  const shown = [...times.keys()].slice(-12).reverse();
  return (
    <figure className="m-0 min-w-0">
      <figcaption className="mb-1 flex flex-wrap items-center gap-x-3 text-xs font-semibold">
        {title}
        {lines.map((line) => (
          <span key={line.name} className="flex items-center gap-1 font-normal text-soft">
            <svg width="16" height="4" aria-hidden="true">
              <line x1="0" y1="2" x2="16" y2="2" style={{ stroke: `var(--${line.colour})`, strokeWidth: 2, strokeDasharray: line.dash?.join(" ") }} />
            </svg>
            {line.name}
          </span>
        ))}
      </figcaption>
      <div ref={box} className="overflow-hidden" aria-hidden="true" style={{ height }} />
      <details className="mt-1 text-xs">
        <summary className="text-soft">As a table</summary>
        <table className="grid-table mt-1">
          <thead>
            <tr>
              <th scope="col"><span>Time</span></th>
              {lines.map((line) => (
                <th key={line.name} scope="col" className="right"><span>{line.name}</span></th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((at) => (
              <tr key={at}>
                <td>{clock((times[at] ?? 0) * 1000).slice(11)}</td>
                {lines.map((line) => (
                  <td key={line.name} className="right">{format(line.values[at] ?? null)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </figure>
  );
}
