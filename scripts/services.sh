#!/usr/bin/env bash
# Runs the tests of the project `services` over a PostgreSQL and a Redis of their own, a Chromium, zsh and fish, which it installs where they are missing
# (Debian, as root), starts and stops: `npm run test:services`. Arguments go to vitest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

stop() {
  bash scripts/redis.sh stop
  bash scripts/postgres.sh stop
}
trap stop EXIT

bash scripts/chromium.sh
bash scripts/shells.sh
bash scripts/postgres.sh start
bash scripts/redis.sh start
npx vitest run --project services "$@"

# Without arguments, the examples that need them, too.
if (($# == 0)); then
  REDIS_URL=$(cat .redis/url) DATABASE_URL=$(cat .postgres/url) node --import tsx examples/cluster/bullmq.ts
  REDIS_URL=$(cat .redis/url) node --import tsx examples/cluster/bullmq.ts
  DATABASE_URL=$(cat .postgres/url) npm run -s demo:cluster
fi
