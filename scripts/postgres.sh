#!/usr/bin/env bash
# A PostgreSQL of its own for the tests: in a temporary folder, on a free port of 127.0.0.1, never as root.
#
#   scripts/postgres.sh start [folder]   installs it where it is missing (Debian, as root), and starts it
#   scripts/postgres.sh crash [folder]   ends it as a crash would, and starts it again
#   scripts/postgres.sh stop [folder]    ends it, and removes its data
#
# `folder` (default: .postgres) gets a file `url`, which the tests read, and remembers where the data is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command=${1:-}
folder=${2:-.postgres}

# The newest PostgreSQL of this machine; Debian has its programs in no PATH.
programs() {
  local found
  found=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1)
  if [[ -n $found && -x $found/initdb ]]; then
    echo "$found"
  elif command -v initdb >/dev/null; then
    dirname "$(command -v initdb)"
  fi
}

# PostgreSQL refuses to run as root.
unprivileged() {
  if ((EUID == 0)); then runuser -u postgres -- "$@"; else "$@"; fi
}

# The data is on one disk with all else that runs: a process that ends loses nothing without fsync, only a machine would.
launch() {
  local port=$1
  unprivileged "$bin/pg_ctl" start -w -t 60 -s -D "$data/db" -l "$data/log" \
    -o "-h 127.0.0.1 -p $port -c unix_socket_directories='' -c fsync=off -c max_connections=100"
}

install() {
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    echo "postgres: there is no PostgreSQL here. Install it (Debian: apt-get install postgresql), and run this again." >&2
    exit 1
  fi
  apt-get update -q >/dev/null
  # Without the cluster that Debian would start by itself.
  mkdir -p /etc/postgresql-common
  [[ -e /etc/postgresql-common/createcluster.conf ]] || echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
  DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends postgresql >/dev/null
}

free_port() {
  node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })'
}

stop() {
  [[ -e $folder/data ]] || return 0
  data=$(cat "$folder/data")
  if [[ -e $data/db/postmaster.pid ]]; then unprivileged "$bin/pg_ctl" stop -s -w -m immediate -D "$data/db" || true; fi
  rm -rf "$data" "$folder"
}

bin=$(programs)
if [[ -z $bin && $command == start ]]; then
  install
  bin=$(programs)
fi

case $command in
  start)
    stop
    mkdir -p "$folder"
    data=$(mktemp -d)
    if ((EUID == 0)); then chown postgres: "$data"; fi
    echo "$data" >"$folder/data"
    password=$(node -p 'crypto.randomUUID()')
    (umask 077 && echo "$password" >"$data/password")
    if ((EUID == 0)); then chown postgres: "$data/password"; fi
    unprivileged "$bin/initdb" -D "$data/db" -U tests --auth=scram-sha-256 --pwfile="$data/password" -E UTF8 --locale=C.UTF-8 -N >"$data/initdb.log"
    port=$(free_port)
    echo "$port" >"$folder/port"
    launch "$port"
    (umask 077 && echo "postgres://tests:$password@127.0.0.1:$port/postgres" >"$folder/url")
    ;;
  crash)
    data=$(cat "$folder/data")
    unprivileged "$bin/pg_ctl" stop -s -w -m immediate -D "$data/db"
    launch "$(cat "$folder/port")"
    ;;
  stop) stop ;;
  *)
    sed -n '2,8p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
