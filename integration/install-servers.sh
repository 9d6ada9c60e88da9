#!/usr/bin/env bash
# Installs redis-server, PostgreSQL, MariaDB, PgBouncer, RabbitMQ and Celery for `go test -tags realservers ./...`.
#
# Quiet, exit 0: all are there, or were installed (root on Debian or Ubuntu only).
# Exit 1: prints the exact line to type. Nothing but the packages is left behind: no service is started.
set -euo pipefail

have_redis() {
  command -v redis-server >/dev/null
}

# Debian keeps initdb and postgres out of PATH, in one folder per major version.
have_postgres() {
  if command -v initdb >/dev/null && command -v postgres >/dev/null; then
    return 0
  fi
  local bin
  for bin in /usr/lib/postgresql/*/bin; do
    if [[ -x $bin/initdb && -x $bin/postgres ]]; then
      return 0
    fi
  done
  return 1
}

have_mariadb() {
  command -v mariadb-install-db >/dev/null && { command -v mariadbd >/dev/null || [[ -x /usr/sbin/mariadbd ]]; }
}

have_pgbouncer() {
  command -v pgbouncer >/dev/null || [[ -x /usr/sbin/pgbouncer ]]
}

# Debian's script on PATH changes the user. The tests start the one below it.
have_rabbitmq() {
  [[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]] && command -v epmd >/dev/null
}

# The tests run the interpreter that sees Debian's packages.
have_celery() {
  /usr/bin/python3 -c 'import celery, redis' >/dev/null 2>&1
}

# Sets packages to what is missing.
find_missing() {
  packages=()
  have_redis || packages+=(redis-server)
  have_postgres || packages+=(postgresql)
  have_mariadb || packages+=(mariadb-server)
  have_pgbouncer || packages+=(pgbouncer)
  have_rabbitmq || packages+=(rabbitmq-server)
  have_celery || packages+=(python3-celery python3-redis)
}

find_missing
if ((${#packages[@]} == 0)); then
  exit 0
fi

give_up() {
  local sudo=""
  if ((EUID != 0)); then
    sudo="sudo "
  fi
  {
    echo "install-servers: missing: ${packages[*]}"
    echo "On Debian or Ubuntu type:"
    echo "    ${sudo}apt-get install -y ${packages[*]}"
    echo "On other systems put redis-server, initdb, postgres, mariadb-install-db, mariadbd and pgbouncer on PATH, and"
    echo "rabbitmq-server into /usr/lib/rabbitmq/bin, and install Celery and redis-py for /usr/bin/python3."
    echo "Without them, 'make test-embedded' runs the tests that need Go alone."
  } >&2
  exit 1
}

if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
  give_up
fi

# The packages start a system service each unless policy-rc.d says no (exit 101).
policy=/usr/sbin/policy-rc.d
saved=""
restore_policy() {
  rm -f "$policy"
  if [[ -n $saved ]]; then
    mv "$saved" "$policy"
  fi
}
if [[ -e $policy || -L $policy ]]; then
  saved=$(mktemp "$policy.XXXXXX")
  mv -f "$policy" "$saved"
fi
trap restore_policy EXIT
printf '#!/bin/sh\nexit 101\n' >"$policy"
chmod 755 "$policy"

log=$(mktemp)
trap 'restore_policy; rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
  tail -n 20 "$log" >&2
  give_up
fi
echo "install-servers: installed ${packages[*]}"

missing=("${packages[@]}")
find_missing
if ((${#packages[@]} > 0)); then
  echo "install-servers: installed ${missing[*]}, yet not found afterwards" >&2
  give_up
fi
