# SPDX-License-Identifier: ISC
# Sourced by the other scripts: what they print, how they wait, how they fail.
# shellcheck shell=bash

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# begin_steps N: the steps that follow are numbered.
begin_steps() {
    steps_all=$1
    steps_begun=0
}

# step WHAT: says what is done next, how far the script is, and how long it has been running.
step() {
    steps_begun=$((${steps_begun:-0} + 1))
    printf '\n== %s (%s%d:%02d elapsed)\n' "$*" "${steps_all:+step $steps_begun of $steps_all, }" $((SECONDS / 60)) $((SECONDS % 60))
}

# What a step has shown to be true.
ok() {
    printf 'ok   %s\n' "$*"
}

# failed WHAT: ends the script.  A script that has logs to show defines show_logs before.
failed() {
    printf '\n%s: FAILED: %s\n' "$(basename "$0")" "$*" >&2
    if declare -F show_logs >/dev/null; then
        show_logs >&2 || true
    fi
    exit 1
}

# failed_with LOG WHAT: the log is shown first.
failed_with() {
    cat "$1" >&2 || true
    failed "${@:2}"
}

# within SECONDS COMMAND…: waits until the command succeeds; fails when it has not in that time.
within() {
    local end=$((${EPOCHREALTIME/[.,]/} + $1 * 1000000))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "${EPOCHREALTIME/[.,]/}" -lt "$end" ] || return 1
        sleep 0.05
    done
}

# A TCP port of loopback that no process listens on.
free_port() {
    local port
    while :; do
        port=$((RANDOM % 12000 + 20000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo "$port"
            return
        fi
    done
}

# configure_and_build PRESET [TARGET]…: quiet as long as it succeeds.
configure_and_build() {
    local preset=$1 log
    shift
    log=$(mktemp)
    if ! cmake --preset "$preset" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        die "configuring $preset failed"
    fi
    rm -f "$log"
    cmake --build --preset "$preset" -- -j "$(nproc)" --quiet "$@" || die "building $preset failed"
}
