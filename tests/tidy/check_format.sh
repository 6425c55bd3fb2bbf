#!/usr/bin/env bash
# Every source as clang-format lays it out. Layout differs between its major versions: 14 (Debian 12) decides, others skip.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
if [[ ! -x "$1" ]] || ! "$1" --version | grep -q 'version 14\.'; then
  echo "skipped: needs clang-format 14"
  exit 77
fi
find harness engine reports tests \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) -print0 | xargs -0 "$1" --dry-run -Werror
