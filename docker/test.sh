#!/usr/bin/env bash
# Builds the image and tests it: it makes an API key, serves those who have it, keeps its data when its container is replaced, stops
# gracefully, and contains no build tools. Requires bash and docker; runs from any folder. Also tests
# compose.yaml if Compose, v1 or v2, is installed.
#
#   IMAGE        the tag to build (default: euclidesdb)
#   TORCH_INDEX  where the build looks for torch first (default: the Dockerfile's)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
image=${IMAGE:-euclidesdb}
name=euclidesdb-test-$$ # for the container, its volume, its network and the Compose project
kill_timeout=20         # seconds from docker's SIGTERM to its SIGKILL
start_timeout=180
compose=()

main() {
    step "Building $image"
    docker build --file "$here/Dockerfile" --tag "$image" \
        ${TORCH_INDEX+--build-arg "TORCH_INDEX=$TORCH_INDEX"} "$here/.."

    step "Contents of the image"
    check_contents
    echo "size: $(($(docker image inspect --format '{{.Size}}' "$image") / 1000000)) MB"

    step "A new volume: start, add, search"
    trap clean_up EXIT
    docker network create "$name" >/dev/null
    docker volume create "$name" >/dev/null
    start
    [ "$(docker exec "$name" id -u)" != 0 ] || fail "the server runs as root"
    docker port "$name" 50000
    key=$(printed_key "$name")
    [ -n "$key" ] || fail "no API key was printed at the first start"
    results=$(run_client fill)
    echo "20 images added; each is its own nearest neighbor"

    step "docker stop"
    stop

    step "A new container on the same volume: search"
    docker rm "$name" >/dev/null
    start
    [ -z "$(printed_key "$name")" ] || fail "the second start has made a key again"
    [ "$(run_client search)" = "$results" ] || fail "the results changed with the container"
    echo "the same results"
    stop

    step "compose.yaml"
    check_compose

    printf '\nPASSED\n'
}

step() { printf '\n== %s\n' "$*"; }

fail() {
    printf '\nFAILED: %s\n' "$*" >&2
    exit 1
}

check_contents() {
    docker run --rm --interactive --user 0 --entrypoint bash "$image" <<'INSIDE'
set -eu
unwanted() {
    [ -z "$2" ] || { printf 'FAILED: %s in the image:\n%s\n' "$1" "$2" >&2; exit 1; }
    echo "no $1"
}
unwanted "compiler" "$(compgen -c | grep -xE '(.*-)?(gcc|g\+\+|cc|c\+\+|clang|ld|as)(-[0-9]+)?' || true)"
unwanted "CUDA" "$(find / -xdev -regextype egrep -regex '.*/lib(cu(da|dart|blas|dnn|fft)|nv|nccl|.*_cuda).*\.so.*')"
unwanted "pip cache" "$(find / -xdev -path '*/.cache/pip')"
unwanted "test folder" "$(find /opt -xdev -type d -name tests)"
du --summarize --block-size=1M /opt/euclidesdb/lib/python3*/site-packages/{torch/lib,torch,*} \
    | sort --numeric-sort --reverse | head -n 8
INSIDE
}

start() {
    docker run --detach --name "$name" --network "$name" --volume "$name:/data" \
        --publish 127.0.0.1::50000 --health-interval 1s "$image" >/dev/null
    wait_until_healthy "$name"
}

wait_until_healthy() {
    local deadline=$((SECONDS + start_timeout)) state
    until state=$(docker inspect --format '{{.State.Status}} {{.State.Health.Status}}' "$1") &&
        [ "$state" = "running healthy" ]; do
        [ "${state%% *}" = running ] || fail "the container ended: $state"
        [ "$SECONDS" -lt "$deadline" ] || fail "not healthy after $start_timeout s: $state"
        sleep 0.5
    done
    echo "healthy"
}

printed_key() {
    docker logs "$1" 2>&1 | grep -oE 'euclidesdb_[0-9a-f]{8}_[A-Za-z0-9_-]{43}' || true
}

# Runs the client in a separate container, like a client on another machine.
run_client() {
    EUCLIDESDB_API_KEY=$key docker run --rm --interactive --network "$name" \
        --env EUCLIDESDB_API_KEY --entrypoint python "$image" \
        - "$1" "$name:50000" <"$here/client_check.py"
}

stop() {
    local started=$SECONDS code
    docker stop --time "$kill_timeout" "$name" >/dev/null
    code=$(docker inspect --format '{{.State.ExitCode}}' "$name")
    [ "$code" = 0 ] || fail "the server ended with exit code $code (137: it was killed)"
    [ $((SECONDS - started)) -lt "$kill_timeout" ] || fail "the server had to be killed"
    echo "stopped within $((SECONDS - started + 1)) s, exit code 0"
}

check_compose() {
    if docker compose version >/dev/null 2>&1; then
        compose=(docker compose)
    elif command -v docker-compose >/dev/null; then
        compose=(docker-compose)
    else
        echo "skipped: Compose is not installed"
        return
    fi
    compose+=(--project-name "$name" --file "$here/compose.yaml")
    # without a host port docker chooses a free one
    export EUCLIDESDB_IMAGE=$image EUCLIDESDB_PUBLISH=127.0.0.1:
    "${compose[@]}" config --quiet
    "${compose[@]}" up --detach --no-build
    local container
    container=$("${compose[@]}" ps --quiet euclidesdb)
    wait_until_healthy "$container"
    "${compose[@]}" stop
    [ "$(docker inspect --format '{{.State.ExitCode}}' "$container")" = 0 ] ||
        fail "with Compose the server did not stop gracefully"
}

clean_up() {
    local code=$?
    if [ "$code" -ne 0 ]; then
        docker logs --tail 40 "$name" >&2 || true
        [ "${#compose[@]}" -eq 0 ] || "${compose[@]}" logs >&2 || true
    fi
    {
        [ "${#compose[@]}" -eq 0 ] || "${compose[@]}" down --volumes --timeout 5
        docker rm --force --volumes "$name"
        docker volume rm "$name"
        docker network rm "$name"
    } >/dev/null 2>&1 || true
}

main
