#!/usr/bin/env bash
# A Chromium for the tests of pages: installs Debian's where there is none (as root), and prints its path.
set -euo pipefail

if ! command -v chromium >/dev/null; then
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    echo "chromium: there is none here. Install it (Debian: apt-get install chromium), and run this again." >&2
    exit 1
  fi
  apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends chromium fonts-dejavu-core >/dev/null
fi
command -v chromium
