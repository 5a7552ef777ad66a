#!/usr/bin/env bash
# A PostgreSQL server for tests: started in a temporary folder, on loopback alone, on a port of its own.
#
#   tools/postgres.sh start    starts one and prints  FOLDER URL
#   tools/postgres.sh stop FOLDER
#
# It is Debian's server, but not Debian's cluster: that one, if it runs, is left alone. Nothing is synced to the
# disk: what this server holds is thrown away with its folder.
set -euo pipefail

find_binaries() {
  local newest
  newest=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
  if [ -n "$newest" ]; then echo "$newest"
  elif command -v initdb >/dev/null && command -v pg_ctl >/dev/null; then dirname "$(command -v initdb)"
  else
    echo "no PostgreSQL server here; install it with: tools/system_packages.sh postgresql" >&2
    exit 2
  fi
}

# The server refuses to run as root.
as_server() {
  if [ "$(id -u)" = 0 ]; then (cd / && setpriv --reuid=postgres --regid=postgres --init-groups "$@")
  else "$@"; fi
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start() {
  local bin base folder port password
  bin=$(find_binaries)
  base=${TMPDIR:-/tmp}
  if [ "$(id -u)" = 0 ]; then base=/tmp; fi  # root's TMPDIR may be closed to the server's user
  folder=$(mktemp -d "$base/wovr-postgres.XXXXXX")
  if [ "$(id -u)" = 0 ]; then chown postgres:postgres "$folder"; fi
  chmod 700 "$folder"
  password=$(python3 -c 'import secrets; print(secrets.token_hex(16))')
  (umask 077; echo "$password" >"$folder/password")
  if [ "$(id -u)" = 0 ]; then chown postgres:postgres "$folder/password"; fi
  as_server "$bin/initdb" --pgdata="$folder/data" --username=wovr --pwfile="$folder/password" \
    --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --no-sync >"$folder.init" 2>&1 ||
    { cat "$folder.init" >&2; rm -rf "$folder" "$folder.init"; exit 1; }
  rm -f "$folder.init"
  # Another process may take the port between our look and the server's start: then another port.
  for _ in 1 2 3 4 5; do
    port=$(free_port)
    if as_server "$bin/pg_ctl" --pgdata="$folder/data" --log="$folder/log" --silent --wait start \
      -o "-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories='$folder' \
          -c fsync=off -c max_connections=50" >/dev/null 2>&1 </dev/null; then
      echo "$folder postgresql://wovr:$password@127.0.0.1:$port/postgres"
      return
    fi
  done
  cat "$folder/log" >&2
  rm -rf "$folder"
  exit 1
}

stop() {
  local bin folder=$1
  bin=$(find_binaries)
  case "$(basename "$folder")" in
    wovr-postgres.*) ;;
    *) echo "$folder was not made by this script" >&2; exit 2 ;;
  esac
  as_server "$bin/pg_ctl" --pgdata="$folder/data" --silent --wait --mode=immediate stop || true
  rm -rf "$folder"
}

case "${1:-}" in
  start) start ;;
  stop) stop "${2:?which folder? (the first word that start printed)}" ;;
  *) sed -n '2,8p' "$0" >&2; exit 2 ;;
esac
