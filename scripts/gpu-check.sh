#!/usr/bin/env bash
# Builds the trainer for GPUs and computes every stored parity case on one, comparing with PyTorch's numbers.
# Without a graphics card, Debian's software device serves: apt-get install mesa-vulkan-drivers
# Usage: scripts/gpu-check.sh [SHARED] [DEVICE]
set -euo pipefail
shared=${1:-../shared}
device=${2:-wgpu}
target=${CARGO_TARGET_DIR:-target}/gpu

bundles=$(find "$shared/parity/bundles" -name bundle.json 2>/dev/null | sort)
if [ -z "$bundles" ]; then
  echo "gpu-check: no bundles below $shared/parity/bundles; name the folder that holds parity/" >&2
  exit 2
fi
# Mesa warns, or fails, without a folder of its own.
if [ -z "${XDG_RUNTIME_DIR:-}" ]; then
  XDG_RUNTIME_DIR=$(mktemp -d)
  export XDG_RUNTIME_DIR
fi
# The device's kernels are made at run time, so the lowest optimisation of the host code that is not slow will do.
CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_TARGET_DIR=$target \
  cargo build --release --locked -p trainer --features wgpu --bin trainer

failed=0
out=$(mktemp)
for bundle in $bundles; do
  folder=$(dirname "$bundle")
  if "$target/release/trainer" parity --bundle "$folder" --out "$out" --device "$device" --check; then
    echo "passed: $folder" >&2
  else
    echo "FAILED: $folder" >&2
    failed=$((failed + 1))
  fi
done
rm -f "$out"
echo "gpu-check: $failed failed" >&2
[ "$failed" -eq 0 ]
