#!/bin/sh
# The image's health check: a real call, with the key that start.sh has made for it. With TLS, it
# needs the variables EUCLIDESDB_TLS_CA and EUCLIDESDB_HEALTH_ADDRESS (euclidesdb.conf).
set -eu
key=/data/keys/health-check
[ ! -e "$key" ] || set -- --api-key-file "$key"
exec env -u EUCLIDESDB_API_KEY euclidesdb models \
    --address "${EUCLIDESDB_HEALTH_ADDRESS:-127.0.0.1:50000}" "$@"
