# SPDX-License-Identifier: ISC
# Sourced by the other scripts, after common.sh: the packages of Debian 12 that they need, and how these are installed.
# shellcheck shell=bash

# Also read by the Dockerfile.
PACKAGES_BUILD="gcc cmake ninja-build pkg-config libc6-dev libssl-dev libpq-dev libjansson-dev libcurl4-openssl-dev
    mosquitto-dev libmosquitto-dev uthash-dev check libjwt-dev"
PACKAGES_RUN="mosquitto mosquitto-clients openssl util-linux"
PACKAGES_TEST="clang-format universal-ctags git python3 python3-pytest python3-cryptography python3-psycopg2 python3-paho-mqtt
    python3-jwt python3-yaml pgbouncer prometheus prometheus-postgres-exporter debootstrap dpkg-dev file softhsm2 opensc libengine-pkcs11-openssl"
# Of scripts/analyse.
# shellcheck disable=SC2034 # read by the script that sources this file
PACKAGES_ANALYSIS="clang clang-tidy cppcheck shellcheck flake8"

# The folder of PostgreSQL's server programs, newest version first; IA_PG_BIN names another.
postgres_bin() {
    local folder
    for folder in "${IA_PG_BIN:-}" $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) "$(dirname "$(command -v initdb || echo /-)")"; do
        if [ -x "$folder/initdb" ]; then
            echo "$folder"
            return
        fi
    done
    return 1
}

need_run_packages() {
    local missing=()
    postgres_bin >/dev/null || missing=(postgresql)
    # shellcheck disable=SC2086 # lists of words
    need_packages $PACKAGES_BUILD $PACKAGES_RUN "${missing[@]}"
}

need_test_packages() {
    need_run_packages
    # shellcheck disable=SC2086
    need_packages $PACKAGES_TEST
}

# Installs those of the given packages that are missing, and says so before it does.
need_packages() {
    local package missing=()
    for package in "$@"; do
        if ! dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q '^install ok installed$'; then
            missing+=("$package")
        fi
    done
    if [ "${#missing[@]}" -eq 0 ]; then
        return 0
    fi
    if [ "$(id -u)" -ne 0 ]; then
        die "missing packages: ${missing[*]} (install them, or run this as root)"
    fi
    echo "Installing missing packages: ${missing[*]}"
    apt_quietly update
    apt_quietly install -y --no-install-recommends "${missing[@]}"
}

# apt-get, whose output is shown only when it fails.  Another apt-get's lock is waited for.
apt_quietly() {
    local log
    log=$(mktemp)
    if ! DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@" </dev/null >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        die "apt-get $1 failed"
    fi
    rm -f "$log"
}
