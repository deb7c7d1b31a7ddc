#!/usr/bin/env bash
# Makes sure that the system packages are there: Tesseract with English and simplified Chinese,
# Leptonica, clang (bindgen reads the C headers with it), a Chinese and a Latin font for the drawn pages.
# Installs only what is missing, and says so. Without root it prints the command and stops.
set -euo pipefail

packages=(tesseract-ocr tesseract-ocr-eng tesseract-ocr-chi-sim libtesseract-dev libleptonica-dev
  clang libclang-dev pkg-config fonts-noto-cjk fonts-dejavu-core)

if ! command -v cargo >/dev/null; then
  echo "setup: cargo is not on the PATH. Install Rust 1.95 or newer from https://rustup.rs, then run this again." >&2
  exit 2
fi
if ! command -v dpkg-query >/dev/null; then
  echo "setup: this is not a Debian system. Install what corresponds to these packages yourself: ${packages[*]}" >&2
  exit 2
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || echo absent)
  [ "$status" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "setup: missing system packages: ${missing[*]}" >&2
if [ "$(id -u)" -ne 0 ]; then
  echo "setup: installing them needs root. Run this, then repeat your command:" >&2
  echo "  sudo apt-get update && sudo apt-get install -y ${missing[*]}" >&2
  exit 2
fi
echo "setup: installing them with apt-get" >&2
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
