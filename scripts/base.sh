# SPDX-License-Identifier: ISC
# Sourced by scripts that need a bare Debian 12: a root file system made by debootstrap, kept as a tar file.
# shellcheck shell=bash

base_tar=${IOT_AUTH_BASE:-/var/cache/mosquitto-iot-auth/docker/bookworm.tar}
base_mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

# What Debian's own container images leave out, and the waiting for disks that a container's build does not need.
base_settings() {
    mkdir -p "$1/etc/dpkg/dpkg.cfg.d" "$1/etc/apt/apt.conf.d"
    printf 'force-unsafe-io\npath-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n' \
        >"$1/etc/dpkg/dpkg.cfg.d/container"
    printf 'Acquire::Languages "none";\nAPT::Install-Recommends "false";\n' >"$1/etc/apt/apt.conf.d/container"
}

# In two stages, so that the settings hold for the base itself.
make_base() {
    local root=$1
    debootstrap --foreign --variant=minbase bookworm "$root" "$base_mirror" &&
        base_settings "$root" &&
        DEBIAN_FRONTEND=noninteractive chroot "$root" /debootstrap/debootstrap --second-stage &&
        echo "deb $base_mirror bookworm main" >"$root/etc/apt/sources.list" &&
        rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
}

# Makes the tar file unless it is there; beside its place first, so that an interrupted run leaves nothing that looks done.
need_base() {
    [ ! -s "$base_tar" ] || return 0
    need_packages debootstrap
    local made
    mkdir -p "$(dirname "$base_tar")"
    made=$(mktemp -d "$base_tar.XXXXXX")
    echo "Making a bare Debian 12 with debootstrap"
    if ! make_base "$made/root" >"$made/log" 2>&1; then
        tail -n 20 "$made/log" >&2
        rm -rf --one-file-system "$made"
        die "debootstrap of bookworm failed"
    fi
    tar -C "$made/root" --numeric-owner -cf "$made/tar" .
    mv "$made/tar" "$base_tar"
    rm -rf --one-file-system "$made"
}
