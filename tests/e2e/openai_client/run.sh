#!/usr/bin/env bash
# run.sh <source folder> <work folder> <engine>: installs what the lock file names into the work folder, then runs the test.
# Exit code 77: npm or node is not here (skipped).
set -euo pipefail
readonly source="$1" work="$2"
export SLUICE_ENGINE="$3"
if ! command -v npm >/dev/null || ! command -v node >/dev/null; then
  echo "skipped: needs node and npm"
  exit 77
fi
mkdir -p "$work"
cp "$source/package.json" "$source/package-lock.json" "$source/client_test.mjs" "$work/"
cd "$work"
if ! cmp -s package-lock.json .installed; then
  npm ci --no-audit --no-fund --ignore-scripts
  cp package-lock.json .installed
fi
exec node --test client_test.mjs
