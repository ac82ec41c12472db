# SPDX-License-Identifier: ISC
# Sourced by the scripts of the Debian packages, after common.sh and packages.sh: folders that hold a Debian release, in which
# packages are built and tried.  For each release there are
#
#   base    what debootstrap installs
#   build   base, the packages that debian/control asks for, and lintian
#   cross   the same for arm64: a compiler for it, its libraries, and apt's copy of its Mosquitto, which would replace the one
#           that mosquitto-dev depends on
#   run     base, with Mosquitto and PostgreSQL, and apt's copies of what the package depends on, so that it can be
#           installed without a network
#
# They are kept and never written to again: lay_root lays a scratch folder over them (overlayfs).
# shellcheck shell=bash

roots=${IOT_AUTH_ROOTS:-/var/cache/mosquitto-iot-auth/roots}
root_releases=(bookworm trixie sid)

ROOT_TOOLS="build-essential debhelper cmake ninja-build pkgconf mosquitto-dev uthash-dev ccache lintian"
ROOT_LIBRARIES="libssl-dev libpq-dev libjansson-dev libjwt-dev libcurl4-openssl-dev libmosquitto-dev"
ROOT_BUILD="$ROOT_TOOLS $ROOT_LIBRARIES"
ROOT_CROSS="$ROOT_TOOLS crossbuild-essential-arm64 pkgconf:arm64 ${ROOT_LIBRARIES// /:arm64 }:arm64"
ROOT_CROSS_FETCHED="mosquitto:arm64"
ROOT_RUN="mosquitto mosquitto-clients openssl postgresql"
ROOT_RUN_FETCHED="libcurl4 libjansson4 libjwt-dev libpq5 libssl3 man-db bash-completion"

# chroot into FOLDER with a clean environment.
chrooted() {
    local folder=$1
    shift
    chroot "$folder" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root DEBIAN_FRONTEND=noninteractive "$@"
}

# No service is started, no recommended package is installed, and nothing waits for the disk.
root_settings() {
    local folder=$1
    printf '#!/bin/sh\nexit 101\n' >"$folder/usr/sbin/policy-rc.d"
    chmod 755 "$folder/usr/sbin/policy-rc.d"
    mkdir -p "$folder/etc/dpkg/dpkg.cfg.d"
    echo force-unsafe-io >"$folder/etc/dpkg/dpkg.cfg.d/root"
    printf 'APT::Install-Recommends "false";\nAcquire::Languages "none";\nAcquire::Retries "3";\n' >"$folder/etc/apt/apt.conf.d/root"
}

# No cluster is made when PostgreSQL is installed.
run_settings() {
    mkdir -p "$1/etc/postgresql-common"
    echo 'create_main_cluster = false' >"$1/etc/postgresql-common/createcluster.conf"
}

make_base_root() {
    local release=$1 folder=$2 mirror
    mirror=$(debian_mirror)
    debootstrap --variant=minbase "$release" "$folder" ${mirror:+"$mirror"} && root_settings "$folder" || return
    # sid's index is valid for a week, which a slow mirror, or a machine whose clock is ahead, exceeds.  No release is built there.
    [ "$release" != sid ] || echo 'Acquire::Check-Valid-Until "false";' >>"$folder/etc/apt/apt.conf.d/root"
}

# FOLDER is a copy of the base root.
make_build_root() {
    local folder=$2
    cp /etc/resolv.conf "$folder/etc/resolv.conf"
    chrooted "$folder" apt-get update -q &&
        chrooted "$folder" apt-get install -qy $ROOT_BUILD &&
        chrooted "$folder" apt-get clean
}

# FOLDER is a copy of the base root.
make_cross_root() {
    local folder=$2
    cp /etc/resolv.conf "$folder/etc/resolv.conf"
    chrooted "$folder" dpkg --add-architecture arm64 &&
        chrooted "$folder" apt-get update -q &&
        chrooted "$folder" apt-get install -qy $ROOT_CROSS &&
        chrooted "$folder" apt-get clean &&
        chrooted "$folder" apt-get install -qy --download-only $ROOT_CROSS_FETCHED
}

# FOLDER is a copy of the base root.
make_run_root() {
    local folder=$2
    cp /etc/resolv.conf "$folder/etc/resolv.conf"
    run_settings "$folder"
    chrooted "$folder" apt-get update -q &&
        chrooted "$folder" apt-get install -qy $ROOT_RUN &&
        chrooted "$folder" apt-get clean &&
        chrooted "$folder" apt-get install -qy --download-only $ROOT_RUN_FETCHED
}

# The packages that make a root what it is.
root_packages() {
    case "$1" in
    base) ;;
    build) echo $ROOT_BUILD ;;
    cross) echo $ROOT_CROSS $ROOT_CROSS_FETCHED ;;
    run) echo $ROOT_RUN $ROOT_RUN_FETCHED ;;
    esac
}

# need_root RELEASE KIND: makes the root unless it is there (after own_mounts).  It is made under another name and then renamed, so that an
# interrupted run leaves no incomplete root.  The list of packages is kept beside it: with another list it is made again.
need_root() {
    local release=$1 kind=$2 folder=$roots/$1-$2 made=$roots/.$1-$2.$$ packages
    packages=$(root_packages "$kind")
    [ ! -e "$folder.made" ] || [ "$(cat "$folder.made")" != "$packages" ] || return 0
    need_packages debootstrap
    mkdir -p "$roots"
    if [ -z "${roots_lock:-}" ]; then # another script that makes one is waited for
        exec {roots_lock}>"$roots/lock"
        flock "$roots_lock"
        need_root "$@"
        exec {roots_lock}>&-
        roots_lock=
        return
    fi
    [ "$kind" = base ] || need_root "$release" base
    echo "Making a root of Debian $release ($kind) in $folder${packages:+: $packages}"
    if [ "$kind" != base ]; then
        cp -a "$roots/$release-base" "$made"
        mount -t proc proc "$made/proc" # some packages' scripts want it
    fi
    if ! "make_${kind}_root" "$release" "$made" >"$folder.log" 2>&1; then
        umount "$made/proc" 2>/dev/null || true
        tail -n 20 "$folder.log" >&2
        rm -rf --one-file-system "$made"
        die "making $folder failed: $folder.log"
    fi
    [ "$kind" = base ] || umount "$made/proc"
    rm -rf --one-file-system "$folder" "$folder.made"
    mv "$made" "$folder"
    echo "$packages" >"$folder.made"
}

# lay_root RELEASE KIND SCRATCH: a scratch copy of a root in SCRATCH/root, until the mount namespace ends (own_mounts).
lay_root() {
    local lower=$roots/$1-$2 scratch=$3
    mkdir -p "$scratch/upper" "$scratch/work" "$scratch/root"
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
    mount -t proc proc "$scratch/root/proc"
}

# own_mounts ARGUMENT…: starts the calling script again, with these arguments, in a mount namespace of its own: whatever it
# mounts ends with it, however it ends.
own_mounts() {
    [ "${IOT_AUTH_OWN_MOUNTS:-}" != yes ] || return 0
    [ "$(id -u)" -eq 0 ] || die "must be run as root"
    IOT_AUTH_OWN_MOUNTS=yes exec unshare --mount --propagation private "$0" "$@"
}
