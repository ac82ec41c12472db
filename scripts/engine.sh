# SPDX-License-Identifier: ISC
# Sourced by the scripts that test containers, after common.sh and packages.sh: a Docker engine, the machine's or a private one.  The
# script sets `work`, a folder of its own.
# shellcheck shell=bash disable=SC2154 # work

engine_cache=/var/cache/mosquitto-iot-auth/docker/engine
engine_pid= # of a private engine
export DOCKER_BUILDKIT=0 COMPOSE_DOCKER_CLI_BUILD=0 # the classic builder: BuildKit is a separate package

# Only where no engine can run at all.  No other test covers the stack, so the output says that it was skipped.
skip() {
    printf '\n%s: SKIPPED, no container was started: %s\n' "$(basename "$0")" "$*" >&2
    exit 0
}

start_engine() {
    [ "$(id -u)" -eq 0 ] || skip "no Docker engine answers, and only root can start one"
    PATH=$PATH:/usr/sbin
    command -v dockerd >/dev/null || need_packages docker.io iptables
    export DOCKER_HOST=unix://$work/docker.sock
    mkdir -p "$engine_cache"
    dockerd --host "$DOCKER_HOST" --data-root "$engine_cache" --exec-root "$work/exec" --pidfile "$work/pid" \
        >"$work/dockerd.log" 2>&1 &
    engine_pid=$!
    if ! within 60 engine_has_settled || ! docker version >/dev/null 2>&1; then
        skip "dockerd cannot start on this machine: $(grep -E 'failed|error|fatal' "$work/dockerd.log" | tail -n 1)"
    fi
}

engine_has_settled() {
    docker version || ! kill -0 "$engine_pid"
}

# The kernel starts arm64's programs by qemu, in containers too (flag F), until end_emulation.  A registration of the machine's own is left alone.
need_emulation() {
    local handlers=/proc/sys/fs/binfmt_misc
    need_packages qemu-user-static
    [ -e "$handlers/register" ] || mount -t binfmt_misc binfmt_misc "$handlers" || skip "the kernel has no binfmt_misc"
    ! grep -qs '^flags:.*F' "$handlers"/*aarch64* || return 0
    sed 's#[^:]*:[^:]*$#/usr/bin/qemu-aarch64-static:OCF#; s#^:[^:]*:#:iot-auth-aarch64:#' /usr/lib/binfmt.d/qemu-aarch64.conf | tr -d '\n' >"$handlers/register"
}

end_emulation() {
    [ ! -e /proc/sys/fs/binfmt_misc/iot-auth-aarch64 ] || echo -1 >/proc/sys/fs/binfmt_misc/iot-auth-aarch64
}

need_engine() {
    docker version >/dev/null 2>&1 || start_engine
}

end_engine() {
    [ -n "$engine_pid" ] || return 0
    kill "$engine_pid"
    wait "$engine_pid"
}

# The image exists, or can be pulled.
have_image() {
    docker image inspect "$1" >/dev/null 2>&1 || timeout 60 docker pull -q "$1" >/dev/null 2>&1
}
