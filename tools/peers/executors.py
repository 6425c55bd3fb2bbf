#!/usr/bin/env python3
"""k6's documented examples of each executor, by k6 and by sluice, on the same server: iterations, dropped ones, and the
curve of the VUs, second by second.

    tools/peers/executors.py [K6 [SLUICE [FAST_SERVER]]]

The examples are those of k6's documentation, with times cut to some seconds. Both ask a server that answers at once
(tests/support/fast_server) and sleep half a second, as the examples do. Prints a table; exits 1 where the two differ by
more than an iteration begun or not at the very end allows.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
K6 = sys.argv[1] if len(sys.argv) > 1 else "k6"
SLUICE = sys.argv[2] if len(sys.argv) > 2 else str(ROOT / "build/bench/bin/sluice")
SERVER = sys.argv[3] if len(sys.argv) > 3 else str(ROOT / "build/bench/bin/fast_server")

# name: (k6's options, sluice's lines, tolerance in iterations)
EXAMPLES = {
    "shared-iterations": ({"vus": 10, "iterations": 200, "maxDuration": "30s"}, "vus: 10\n    iterations: 200\n    max_duration: 30s", 0),
    "shared-iterations, cut short": ({"vus": 10, "iterations": 200, "maxDuration": "3250ms"},
                                     "vus: 10\n    iterations: 200\n    max_duration: 3250ms", 10),
    "per-vu-iterations": ({"vus": 10, "iterations": 20, "maxDuration": "30s"}, "vus: 10\n    iterations: 20\n    max_duration: 30s", 0),
    "per-vu-iterations, cut short": ({"vus": 10, "iterations": 20, "maxDuration": "3250ms"},
                                     "vus: 10\n    iterations: 20\n    max_duration: 3250ms", 10),
    "constant-vus": ({"vus": 10, "duration": "5250ms"}, "vus: 10\n    duration: 5250ms", 10),
    "ramping-vus": ({"startVUs": 0, "stages": [{"duration": "4s", "target": 10}, {"duration": "2s", "target": 0}], "gracefulRampDown": "0s"},
                    "start_vus: 0\n    stages: [{duration: 4s, target: 10}, {duration: 2s, target: 0}]\n    graceful_ramp_down: 0s", 10),
    "constant-arrival-rate": ({"duration": "5s", "rate": 30, "timeUnit": "1s", "preAllocatedVUs": 50}, "duration: 5s\n    rate: 30\n    time_unit: 1s\n    max_vus: 50", 1),
    "constant-arrival-rate, too few VUs": ({"duration": "5s", "rate": 30, "timeUnit": "1s", "preAllocatedVUs": 5, "maxVUs": 5},
                                           "duration: 5s\n    rate: 30\n    time_unit: 1s\n    max_vus: 5", 10),
    "ramping-arrival-rate": ({"startRate": 300, "timeUnit": "1m", "preAllocatedVUs": 50,
                              "stages": [{"target": 300, "duration": "2s"}, {"target": 600, "duration": "3s"}, {"target": 600, "duration": "3s"}, {"target": 60, "duration": "2s"}]},
                             "start_rate: 300\n    time_unit: 1m\n    max_vus: 50\n    stages: [{target: 300, duration: 2s}, {target: 600, duration: 3s}, "
                             "{target: 600, duration: 3s}, {target: 60, duration: 2s}]", 1),
}


def executor_of(name):
    return name.split(",")[0]


def k6_figures(folder, name, options, url):
    script = folder / "example.js"
    scenario = {"executor": executor_of(name), **options}
    script.write_text(f"""import http from 'k6/http';
import {{ sleep }} from 'k6';
export const options = {{ scenarios: {{ contacts: {json.dumps(scenario)} }} }};
export default function () {{ http.get('{url}'); sleep(0.5); }}
""")
    subprocess.run([K6, "run", "--quiet", "--no-usage-report", "--summary-export", folder / "k6.json", "--out", f"json={folder / 'points.json'}", script],
                   check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    metrics = json.loads((folder / "k6.json").read_text())["metrics"]
    points = map(json.loads, (folder / "points.json").read_text().splitlines())
    curve = [point["data"]["value"] for point in points if point["type"] == "Point" and point["metric"] == "vus"]
    return metrics["iterations"]["count"], metrics.get("dropped_iterations", {}).get("count", 0), curve


def sluice_figures(folder, name, lines, url):
    file = folder / "example.yaml"
    file.write_text(f"""name: example
target: {{url: "{url.rstrip('/')}"}}
scenarios:
  contacts:
    executor: {executor_of(name)}
    {lines}
    flow: [{{http: {{get: /}}}}, {{sleep: 500ms}}]
""")
    subprocess.run([SLUICE, "run", file, "-q", "--out-dir", folder / "out"], check=False, stdout=subprocess.DEVNULL)
    summary = json.loads((folder / "out/summary.json").read_text())
    scenario = summary["scenarios"][0]
    return scenario["iterations"], scenario["dropped"], [point["vus"] for point in summary["series"]]


def curve_text(curve):
    return " ".join(f"{vus:g}" for vus in curve)


def main():
    server = subprocess.Popen([SERVER], stdout=subprocess.PIPE, text=True)
    differ = False
    try:
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}/"
        print("| example | iterations: k6 | sluice | dropped: k6 | sluice | VUs at the end of each second: k6 | sluice |\n|---|---|---|---|---|---|---|")
        with tempfile.TemporaryDirectory() as folder:
            for name, (options, lines, tolerance) in EXAMPLES.items():
                theirs = k6_figures(pathlib.Path(folder), name, options, url)
                ours = sluice_figures(pathlib.Path(folder), name, lines, url)
                same = abs(theirs[0] - ours[0]) <= tolerance and abs(theirs[1] - ours[1]) <= tolerance
                differ = differ or not same
                print(f"| {name} | {theirs[0]} | {ours[0]} | {theirs[1]} | {ours[1]} | {curve_text(theirs[2])} | {curve_text(ours[2])} |" + ("" if same else " differs"), flush=True)
    finally:
        server.terminate()
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
