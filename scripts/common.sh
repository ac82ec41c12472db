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

# forget_failed PRESET: what an earlier run says has failed must not count, also where ctest cannot start.
forget_failed() {
    rm -f "build/$1/Testing/Temporary/LastTestsFailed.log"
}

# repeat_alone PRESET: whole-broker suites run beside each other.  At most three that failed so are run again, one at a
# time; what fails then has failed.  What passed only alone is named, because depending on the machine's load is a fault too.
repeat_alone() {
    local suites suite log=build/$1/Testing/Temporary/LastTestsFailed.log
    [ -f "$log" ] || return 1
    mapfile -t suites < <(cut -d : -f 2 "$log")
    [ "${#suites[@]}" -gt 0 ] && [ "${#suites[@]}" -le 3 ] || return 1
    for suite in "${suites[@]}"; do
        [[ $suite == integration.* ]] || return 1
    done
    printf '\n== Again, one at a time: %s\n' "${suites[*]}"
    ctest --preset "$1" --timeout 900 --rerun-failed || return 1
    printf 'Failed beside other suites, passed alone: %s\n' "${suites[*]}"
}
