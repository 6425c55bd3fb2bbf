#!/usr/bin/env bash
# Requests a second of load generators against one server that is faster than any of them, side by side.
#
#   tools/peers/load.sh [ROUNDS [SECONDS [CONNECTIONS]]]        default: 5 rounds of 5 s each, 64 connections
#
# The server (tests/support/fast_server: one read, one write a request, a body of 13 bytes) is pinned to one core, the
# client to another. The sides take turns, round after round; each line gives the median and its ratio to wrk's, of the
# same rounds. sluice runs as users run it: a scenario with thresholds, all default metrics, the live line on.
# Tools that are not installed are named and left out. Environment: SLUICE, FAST_SERVER (paths), SERVER_CORE, CLIENT_CORE,
# SERVER_THREADS (with SERVER_CORE naming as many cores: where one core cannot keep up with a client).
set -euo pipefail
cd "$(dirname "$0")/../.."

rounds=${1:-5} seconds=${2:-5} connections=${3:-64}
sluice=${SLUICE:-build/bench/bin/sluice} fast_server=${FAST_SERVER:-build/bench/bin/fast_server}
server_core=${SERVER_CORE:-1} client_core=${CLIENT_CORE:-0}
for file in "$sluice" "$fast_server"; do
  [ -x "$file" ] || { echo "$file is missing: cmake --preset bench && ninja -C build/bench sluice fast_server" >&2; exit 2; }
done

work=$(mktemp -d)
server_pid=
cleanup() {
  [ -z "$server_pid" ] || kill "$server_pid" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT

taskset -c "$server_core" "$fast_server" 0 "${SERVER_THREADS:-1}" >"$work/port" &
server_pid=$!
until [ -s "$work/port" ]; do kill -0 "$server_pid"; done
url=http://127.0.0.1:$(cat "$work/port")/

cat >"$work/get.yaml" <<YAML
name: get
target: {url: "${url%/}"}
scenarios:
  get:
    executor: constant-vus
    vus: $connections
    duration: ${seconds}s
    flow: [{http: {get: /}, check: status == 200}]
thresholds:
  http_req_failed: rate < 1%
  http_req_duration: p(99) < 10s
YAML
cat >"$work/get.js" <<JS
import http from "k6/http";
import { check } from "k6";
export const options = {
  vus: $connections, duration: "${seconds}s",
  thresholds: { http_req_failed: ["rate<0.01"], http_req_duration: ["p(99)<10000"] },
};
export default function () { check(http.get("$url"), { "status is 200": (r) => r.status === 200 }); }
JS

client() { taskset -c "$client_core" "$@"; }
# Each prints requests a second.
run_wrk() { client wrk -t1 -c"$connections" -d"${seconds}s" "$url" | awk '/Requests\/sec/ {print $2}'; }
run_h2load() {
  client h2load --h1 -t1 -c"$connections" -D"$seconds" "$url" | awk '/^finished in/ {for (i = 1; i < NF; ++i) if ($(i + 1) ~ /^req\/s/) print $i}'
}
run_hey() { client env GOMAXPROCS=1 hey -z "${seconds}s" -c "$connections" "$url" | awk '/Requests\/sec/ {print $2}'; }
run_k6() {
  client env GOMAXPROCS=1 k6 run --quiet --no-usage-report --summary-export "$work/k6.json" "$work/get.js" >/dev/null 2>&1 || true
  python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["metrics"]["http_reqs"]["rate"])' "$work/k6.json"
}
run_sluice() {
  client "$sluice" run "$work/get.yaml" --out-dir "$work/out" >/dev/null 2>&1
  python3 -c 'import json, sys; s = json.load(open(sys.argv[1])); print(s["metrics"]["http_reqs"]["count"] / s["duration_s"])' "$work/out/summary.json"
}

tools=(sluice)
for tool in wrk h2load hey k6; do
  if command -v "$tool" >/dev/null; then tools+=("$tool"); else echo "$tool is not installed: left out" >&2; fi
done
for ((round = 1; round <= rounds; ++round)); do
  for tool in "${tools[@]}"; do
    rate=$("run_$tool")
    echo "$round $tool $rate" >>"$work/rates"
    echo "round $round: $tool $rate" >&2
  done
done

python3 - "$work/rates" <<'PY'
import statistics, sys
rates = {}
for line in open(sys.argv[1]):
    _, tool, rate = line.split()
    rates.setdefault(tool, []).append(float(rate))
print("| client | requests/s, median | lowest | highest | ratio to wrk, median of rounds |\n|---|---|---|---|---|")
for tool, own in rates.items():
    ratio = statistics.median(a / b for a, b in zip(own, rates["wrk"])) if "wrk" in rates else float("nan")
    print(f"| {tool} | {statistics.median(own):,.0f} | {min(own):,.0f} | {max(own):,.0f} | {ratio:.2f} |")
PY
