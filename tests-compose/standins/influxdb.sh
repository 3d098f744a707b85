#!/bin/bash
# As the real image's entry point does: where there is no data yet, a server that only listens on loopback makes the
# database of INFLUXDB_DB and runs /docker-entrypoint-initdb.d/*.iql. Then the server takes over this process.
set -euo pipefail

if [ ! -d /var/lib/influxdb/meta ]; then
    INFLUXDB_HTTP_BIND_ADDRESS=127.0.0.1:8086 influxd &
    first=$!
    until influx -execute "CREATE DATABASE $INFLUXDB_DB" >/dev/null 2>&1; do
        kill -0 "$first"
        sleep 0.1
    done
    for script in /docker-entrypoint-initdb.d/*.iql; do
        influx -execute "$(cat "$script")"
    done
    kill -TERM "$first"
    wait "$first"
fi
exec "$@"
