# SPDX-License-Identifier: ISC
# Sourced by scripts that need a bare Debian 12: a root file system made by debootstrap, kept as a tar file.
# shellcheck shell=bash

base_tar=${IOT_AUTH_BASE:-/var/cache/mosquitto-iot-auth/docker/bookworm.tar}

# What Debian's own container images leave out, and no waiting for the disk, which a container's build does not need.
base_settings() {
    mkdir -p "$1/etc/dpkg/dpkg.cfg.d" "$1/etc/apt/apt.conf.d"
    printf 'force-unsafe-io\npath-exclude /usr/share/doc/*\npath-exclude /usr/share/man/*\npath-exclude /usr/share/locale/*\n' \
        >"$1/etc/dpkg/dpkg.cfg.d/container"
    printf 'Acquire::Languages "none";\nAPT::Install-Recommends "false";\n' >"$1/etc/apt/apt.conf.d/container"
}

# In two stages, so that the settings apply to the base packages too.  Another architecture's second stage runs under qemu.
make_base() {
    local root=$1 architecture=$2 mirror
    mirror=$(debian_mirror)
    debootstrap --foreign --arch="$architecture" --variant=minbase bookworm "$root" ${mirror:+"$mirror"} &&
        base_settings "$root" &&
        DEBIAN_FRONTEND=noninteractive chroot "$root" /debootstrap/debootstrap --second-stage &&
        rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
}

# need_base [ARCHITECTURE]: sets base_tar, and makes the tar file unless it exists.  It is written under another name first, so that an interrupted run leaves no
# incomplete file under the final one.
need_base() {
    local architecture=${1:-$(dpkg --print-architecture)} made
    [ "$architecture" = "$(dpkg --print-architecture)" ] || base_tar=${base_tar%.tar}-$architecture.tar
    [ ! -s "$base_tar" ] || return 0
    need_packages debootstrap
    mkdir -p "$(dirname "$base_tar")"
    made=$(mktemp -d "$base_tar.XXXXXX")
    echo "Making a bare Debian 12 ($architecture) with debootstrap: $base_tar"
    if ! make_base "$made/root" "$architecture" >"$made/log" 2>&1; then
        tail -n 20 "$made/log" >&2
        rm -rf --one-file-system "$made"
        die "debootstrap of bookworm failed"
    fi
    tar -C "$made/root" --numeric-owner -cf "$made/tar" .
    mv "$made/tar" "$base_tar"
    rm -rf --one-file-system "$made"
}
