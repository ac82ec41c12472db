# SPDX-License-Identifier: ISC
# Sourced by the other scripts: what they need of Debian 12, and how it gets there.
# shellcheck shell=bash

PACKAGES_BUILD="gcc cmake ninja-build pkg-config libc6-dev libssl-dev libpq-dev libjansson-dev libcurl4-openssl-dev
    mosquitto-dev libmosquitto-dev uthash-dev check libjwt-dev"
PACKAGES_RUN="mosquitto mosquitto-clients postgresql-15 postgresql-client-15 openssl util-linux"
PACKAGES_TEST="clang-format universal-ctags git python3 python3-pytest python3-cryptography python3-psycopg2 python3-paho-mqtt
    python3-jwt
    debootstrap dpkg-dev file softhsm2 opensc libengine-pkcs11-openssl"

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Installs those of the given packages that lack; says so; does nothing when all are there.
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
        die "these packages lack, run as root or install them: ${missing[*]}"
    fi
    echo "Installing: ${missing[*]}"
    apt_quietly update
    apt_quietly install -y --no-install-recommends "${missing[@]}"
}

# apt-get without its chatter; all of it when it fails.
apt_quietly() {
    local log
    log=$(mktemp)
    if ! DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 "$@" </dev/null >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        die "apt-get $1 failed"
    fi
    rm -f "$log"
}
