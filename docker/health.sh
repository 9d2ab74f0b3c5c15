#!/bin/sh
# The image's health check: a real call, with the key that start.sh has made for it.
set -eu
key=/data/keys/health-check
[ ! -e "$key" ] || set -- --api-key-file "$key"
exec env -u EUCLIDESDB_API_KEY euclidesdb models --address 127.0.0.1:50000 "$@"
