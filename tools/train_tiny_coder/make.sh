#!/bin/bash
# Makes the model from nothing on a machine with an NVIDIA GPU: make.sh OUTPUT_FOLDER SECONDS [arguments of train.py]
# The corpus is packed while SECONDS of training go on, each document used once.
set -euo pipefail
set -m   # the packer and its workers are a process group of their own
out=$1 seconds=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d /dev/shm/tiny-coder.XXXXXX)
trap 'kill -- "-$packer" 2>/dev/null || true; rm -rf "$work"' EXIT
export PYTHONUNBUFFERED=1
mkdir -p "$out"
python3 "$here/pack.py" "$work" --shards 2000 --workers "$(($(nproc) - 2))" &
packer=$!
python3 "$here/train.py" --shards "$work" --out "$out" --steps 20000 --seconds "$seconds" "$@"
kill -- "-$packer" 2>/dev/null || true
cp "$here"/../../models/tiny-coder/*.json "$out/model.safetensors" "$work/"
python3 - "$work" "$out" <<'PYTHON'
import json, pathlib, sys
work, out = map(pathlib.Path, sys.argv[1:])
total = {"shards": 0}
used = json.loads((out / "train.json").read_text())["next_shard"]
for number in range(used):
    total["shards"] += 1
    for key, value in json.loads((work / f"{number:05d}.json").read_text()).items():
        if key == "kinds":
            for kind, count in value.items():
                total.setdefault("kinds", {})[kind] = total.get("kinds", {}).get(kind, 0) + count
        else:
            total[key] = total.get(key, 0) + value
(out / "corpus.json").write_text(json.dumps(total, indent=1) + "\n")
print("corpus:", {k: v for k, v in total.items() if k != "kinds"})
PYTHON
python3 "$here/evaluate.py" "$work" --kinds 64 --out "$out/evaluation.json"
