#!/usr/bin/env bash
# clang-tidy over our sources of one build folder (default build/dev); minutes, so not a part of the test suite.
# Not over .cu: their commands are nvcc's, which clang does not understand. The CUDA backend's .cpp are plain C++.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
folder="${1:-build/dev}"
sources=$(python3 - "$folder" <<'PY'
import json, os, sys
root = os.getcwd() + "/"
files = {entry["file"] for entry in json.load(open(sys.argv[1] + "/compile_commands.json"))}
print("\n".join(sorted(f for f in files if f.startswith(root) and not f.endswith(".cu") and f[len(root):].split("/")[0] in ("harness", "engine", "reports"))))
PY
)
xargs -P "$(nproc)" -n 1 clang-tidy --quiet -p "$folder" <<<"$sources"
