"""What each layer costs: the same requests through the engine alone and over its HTTP API.

    python3 tools/layers.py build/release/bin [--concurrency 4] [--pairs 5]

Runs `sluice-engine bench --requests` (the service layer) and `sluice run scenarios/layers.yaml` (the API layer) in turn and prints the median
of each figure over the pairs, as a Markdown table.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
FIGURES = ("ttft_ms p50", "ttft_ms p95", "tpot_ms p50", "e2e_ms p50", "e2e_ms p95", "tokens/s")


def service(binaries, concurrency):
    done = subprocess.run([binaries / "sluice-engine", "bench", "--requests", ROOT / "scenarios/data/requests.jsonl", "--concurrency", str(concurrency),
                           "--model", "tiny-coder", "--threads", "1", "--json"], cwd=ROOT, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    return {**{f"{name} {p}": result[name][p] for name in ("ttft_ms", "tpot_ms", "e2e_ms") for p in ("p50", "p95")},
            "tokens/s": result["output_tokens_per_s"]}


def api(binaries, concurrency):
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([binaries / "sluice", "run", "scenarios/layers.yaml", "-q", "-e", f"CONCURRENCY={concurrency}", "--out-dir", folder],
                       cwd=ROOT, check=True, capture_output=True)
        metrics = json.loads((pathlib.Path(folder) / "summary.json").read_text())["metrics"]
    return {**{f"{name}_ms {p}": metrics[name]["percentiles"][p] for name in ("ttft", "tpot", "e2e") for p in ("p50", "p95")},
            "tokens/s": metrics["output_tokens_per_second"]["value"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", type=lambda path: pathlib.Path(path).resolve())
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    runs = {"service": [], "api": []}
    for _ in range(options.pairs):
        runs["service"].append(service(options.binaries, options.concurrency))
        runs["api"].append(api(options.binaries, options.concurrency))
    print("| layer | " + " | ".join(FIGURES) + " |\n|---" + "|---" * len(FIGURES) + "|")
    medians = {layer: {name: statistics.median(run[name] for run in each) for name in FIGURES} for layer, each in runs.items()}
    for layer, figures in medians.items():
        print(f"| {layer} | " + " | ".join(f"{figures[name]:.3g}" if figures[name] < 1000 else f"{figures[name]:,.0f}" for name in FIGURES) + " |")
    print("| api - service | " + " | ".join(f"{medians['api'][name] - medians['service'][name]:+.3g}" for name in FIGURES) + " |")


if __name__ == "__main__":
    main()
