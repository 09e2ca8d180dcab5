#!/usr/bin/env bash
# Zsh and fish for the tests of completions: installs Debian's where there are none (as root), and prints their paths.
set -euo pipefail

missing=()
for shell in zsh fish; do
  command -v "$shell" >/dev/null || missing+=("$shell")
done
if ((${#missing[@]} > 0)); then
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    echo "${missing[*]}: not installed here. Install it (Debian: apt-get install ${missing[*]}), and run this again." >&2
    exit 1
  fi
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null
fi
command -v zsh fish
