#!/bin/sh
# The image's entry point: `euclidesdb` with the arguments given. Before the first start on a volume
# it makes an API key for the operator, which is printed, and one for the health check.
set -eu

config=/etc/euclidesdb/euclidesdb.conf
keys=/data/keys

if [ "${1:-}" = serve ] && [ ! -e "$keys" ] && grep -q "^keys_file = $keys/" "$config"; then
    umask 077
    rm -rf "$keys.new"
    mkdir "$keys.new"
    euclidesdb key create health-check --role read \
        --keys-file "$keys.new/keys.json" --output "$keys.new/health-check"
    echo "The API key of the role admin, which is shown this once (EUCLIDESDB_API_KEY):"
    euclidesdb key create first --role admin --keys-file "$keys.new/keys.json"
    mv "$keys.new" "$keys"
fi
exec euclidesdb "$@"
