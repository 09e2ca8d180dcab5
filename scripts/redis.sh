#!/usr/bin/env bash
# A Redis of its own for the tests: in a temporary folder, on a free port of 127.0.0.1, with a password.
#
#   scripts/redis.sh start [folder]   installs it where it is missing (Debian, as root), and starts it
#   scripts/redis.sh crash [folder]   kills it, and starts it again: empty
#   scripts/redis.sh stop [folder]    ends it, and removes its data
#
# `folder` (default: .redis) gets a file `url`, which the tests read, and remembers where the data is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

command=${1:-}
folder=${2:-.redis}

install() {
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    echo "redis: there is no redis-server here. Install it (Debian: apt-get install redis-server), and run this again." >&2
    exit 1
  fi
  apt-get update -q >/dev/null
  # Without the service that Debian would start by itself: this one is a process of its own.
  DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -q -y --no-install-recommends redis-server >/dev/null
}

free_port() {
  node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close() })'
}

answers() {
  [[ $(REDISCLI_AUTH=$password redis-cli -p "$port" PING 2>/dev/null) == PONG ]]
}

# The password stands in a file, not in the arguments, which every process may read.
launch() {
  redis-server "$data/redis.conf" >/dev/null
  for _ in $(seq 200); do
    if answers; then return 0; fi
    sleep 0.05
  done
  echo "redis: it does not answer on port $port" >&2
  cat "$data/log" >&2
  exit 1
}

load() {
  data=$(cat "$folder/data")
  port=$(cat "$folder/port")
  password=$(cat "$data/password")
}

end() {
  if [[ -e $data/pid ]]; then
    local pid
    pid=$(cat "$data/pid")
    kill -KILL "$pid" 2>/dev/null || true
    while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
    rm -f "$data/pid"
  fi
}

stop() {
  [[ -e $folder/data ]] || return 0
  data=$(cat "$folder/data")
  end
  rm -rf "$data" "$folder"
}

case $command in
  start)
    command -v redis-server >/dev/null || install
    stop
    mkdir -p "$folder"
    data=$(mktemp -d)
    echo "$data" >"$folder/data"
    port=$(free_port)
    echo "$port" >"$folder/port"
    password=$(node -p 'crypto.randomUUID()')
    (umask 077 && echo "$password" >"$data/password")
    (umask 077 && cat >"$data/redis.conf") <<CONF
bind 127.0.0.1
port $port
requirepass $password
dir $data
pidfile $data/pid
logfile $data/log
daemonize yes
save ""
appendonly no
maxmemory-policy noeviction
CONF
    launch
    (umask 077 && echo "redis://:$password@127.0.0.1:$port" >"$folder/url")
    ;;
  crash)
    load
    end
    launch
    ;;
  stop) stop ;;
  *)
    sed -n '2,8p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
