#!/usr/bin/env bash
# What reports to the control plane cost a sidecar: instructions a request by callgrind, those of the whole process and,
# of them, those of the reports. Takes a release build with line tables (cargo bench --bench proxy --no-run makes one),
# valgrind and h2load:   benches/reports.sh [REQUESTS]
set -euo pipefail
cd "$(dirname "$0")/.."
requests=${1:-20000}
weft=$PWD/target/release/weft
data=$(mktemp -d)
pids=()
end() { kill "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$data"; }
trap end EXIT
export WEFT_DATA_DIR=$data

"$weft" control-plane --listen-xds 127.0.0.1:0 --listen-api 127.0.0.1:0 --listen-metrics 127.0.0.1:0 --access-log off \
  --trace-sampling 0 >"$data/control-plane.log" 2>&1 &
pids+=($!)
"$weft" sample bookinfo details --version v1 --listen 127.0.94.2:19080 >"$data/details.log" 2>&1 &
pids+=($!)
until [ -s "$data/control-plane/address.json" ]; do sleep 0.1; done
valgrind --tool=callgrind --callgrind-out-file="$data/calls" "$weft" agent --service details --port 9080 \
  --address 127.0.94.2 --forward-to 127.0.94.2:19080 --listen-dns off >"$data/agent.log" 2>&1 &
agent=$!
pids+=("$agent")
until curl -fsS -o "$data/page" http://127.0.94.2:9080/details/0 2>"$data/curl.log"; do sleep 0.5; done
load() { h2load --h1 -n "$1" -c 4 http://127.0.94.2:9080/details/0 >"$data/load.log"; }
load 500
callgrind_control --zero "$agent" >"$data/control.log"
load "$requests"
# The last of it is reported within the five seconds that a proxy takes from one report to the next.
sleep 6
callgrind_control --dump "$agent" >>"$data/control.log"
grep -E '^requests:' "$data/load.log"
python3 - "$requests" "$data" <<'PYTHON'
import glob, re, subprocess, sys
requests, data = int(sys.argv[1]), sys.argv[2]
dump = sorted(glob.glob(f"{data}/calls*"))[-1]
def annotate(*words):
    return subprocess.run(["callgrind_annotate", "--threshold=100", *words, dump], capture_output=True, text=True).stdout
def cost(line):
    found = re.match(r"\s*([\d,]+) ", line)
    return int(found[1].replace(",", "")) if found else 0
lines = annotate("--inclusive=yes").splitlines()
total = next(cost(line) for line in lines if "PROGRAM TOTALS" in line and cost(line))
alone = annotate("--inclusive=no").splitlines()
sketch = sum(cost(line) for line in alone if re.search(r"api/src/latency\.rs", line))
told = sum(cost(line) for line in alone if re.search(r"stats/told\.rs", line))
print(f"instructions a request: {total / requests:.0f}")
print(f"  of the sketch of latencies: {sketch / requests:.1f}")
print(f"  of collecting what is reported: {told / requests:.1f}")
print(f"  share of both: {(told + sketch) / total * 100:.2f} %")
PYTHON
