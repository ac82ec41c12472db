# SPDX-License-Identifier: ISC
# Sourced by the other scripts, after common.sh: the packages of Debian 12 that they need, and how these are installed.
# shellcheck shell=bash

# Also read by the Dockerfile.
PACKAGES_BUILD="gcc cmake ninja-build pkg-config libc6-dev libssl-dev libpq-dev libjansson-dev libcurl4-openssl-dev
    mosquitto-dev libmosquitto-dev uthash-dev check libjwt-dev"
PACKAGES_RUN="mosquitto mosquitto-clients openssl util-linux"
PACKAGES_TEST="clang-format universal-ctags git python3 python3-pytest python3-cryptography python3-psycopg2 python3-paho-mqtt
    python3-jwt python3-yaml pgbouncer prometheus prometheus-postgres-exporter haproxy nats-server gnutls-bin libmbedtls-dev glewlwyd dbconfig-no-thanks debootstrap dpkg-dev file softhsm2 opensc libengine-pkcs11-openssl"
# Of scripts/build-packages and scripts/test-packages.
# shellcheck disable=SC2034 # read by the scripts that source this file
PACKAGES_PACKAGES="debootstrap qemu-user-static openssl python3 python3-pytest python3-cryptography python3-psycopg2"
# Of scripts/analyse.
# shellcheck disable=SC2034 # read by the script that sources this file
PACKAGES_ANALYSIS="clang clang-tidy cppcheck shellcheck flake8"

# The folder of PostgreSQL's server programs: IA_PG_BIN, what pg_config says, Debian's folders (newest version first), PATH.
postgres_bin() {
    local folder
    for folder in "${IA_PG_BIN:-}" "$(pg_config --bindir 2>/dev/null)" $(printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV) "$(dirname "$(command -v initdb || echo /-)")"; do
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

# The mirror that apt on this machine uses for Debian; DEBIAN_MIRROR names another.  Empty: debootstrap's own default.
debian_mirror() {
    [ -z "${DEBIAN_MIRROR:-}" ] || { echo "$DEBIAN_MIRROR"; return; }
    apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null | grep -m 1 '^http' || true
}

# Installs those of the given packages that are missing, and says so before it does.
need_packages() {
    local package missing=()
    command -v dpkg-query >/dev/null || die "not a Debian: install the equivalents of these packages, and see docs/install.md: $*"
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
    # Otherwise glewlwyd's package sets up a database server, and its installation fails where there is none.
    if [[ " ${missing[*]} " = *" glewlwyd "* ]]; then
        debconf-set-selections <<<"glewlwyd glewlwyd/config_type select No configuration"
    fi
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
