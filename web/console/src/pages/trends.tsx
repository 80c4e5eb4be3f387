import { lazy, Suspense } from "react";
import { useGet } from "../api/hooks";
import type { Series } from "../api/types";
import { milliseconds, rate } from "../lib/format";
import { useWindow } from "../lib/params";
import { asProblem } from "../ui/states";

const Chart = lazy(() => import("../ui/chart"));

const perSecond = (value: number | null) => rate(value);

/** The last while of a service, of an edge, or of the whole mesh; `wide` where both charts stand side by side. */
export function Trends({ query, height, wide }: { query: Record<string, string>; height?: number; wide?: boolean }) {
  const [, , seconds] = useWindow();
  // Less than a quarter of an hour is no line yet.
  const window = seconds > 900 ? "1h" : "15m";
  const series = useGet<Series>("/series", { ...query, window }, 10_000);
  const data = series.data;
  if (!data) return series.isError ? <p className="text-soft">{asProblem(series.error).status === 403 ? "Your role does not show the figures of the whole mesh." : "The figures cannot be read now."}</p> : <div className="skeleton" style={{ height: height ?? 140 }} />;
  if (data.series.requests.every((value) => value === null)) return <p className="text-soft">{`No traffic in the last ${window === "1h" ? "hour" : "15 minutes"}.`}</p>;
  return (
    <div className={`grid gap-3 ${wide ? "md:grid-cols-2" : ""}`}>
      <Suspense fallback={<div className="skeleton h-36" />}>
        <Chart
          title="Requests per second"
          start={data.start}
          step={data.step_seconds}
          height={height}
          format={perSecond}
          lines={[
            { name: "all", values: data.series.requests, colour: "accent" },
            { name: "errors", values: data.series.errors, colour: "bad", dash: [4, 3] },
          ]}
        />
        <Chart
          title="Latency"
          start={data.start}
          step={data.step_seconds}
          height={height}
          format={milliseconds}
          lines={[
            { name: "p50", values: data.series.p50, colour: "edge" },
            { name: "p95", values: data.series.p95, colour: "accent", dash: [4, 3] },
            { name: "p99", values: data.series.p99, colour: "warn", dash: [1, 3] },
          ]}
        />
      </Suspense>
    </div>
  );
}
