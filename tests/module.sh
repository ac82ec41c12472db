#!/usr/bin/env bash
# SPDX-License-Identifier: ISC
# The module that Mosquitto loads: it exports its three entry points and nothing else (2.0 loads plugins with RTLD_GLOBAL),
# leaves none of our own functions undefined (a shared module links without them), is never unmapped (OpenSSL keeps
# pointers to its callbacks), and has read-only relocations.
#
#   tests/module.sh MODULE.so
set -euo pipefail
module=$1
failed=0

wrong() {
    echo "module: $*" >&2
    failed=1
}

exported=$(nm -D --defined-only "$module" | awk '{print $3}' | sort | tr '\n' ' ')
[ "$exported" = "mosquitto_plugin_cleanup mosquitto_plugin_init mosquitto_plugin_version " ] || wrong "exports $exported"
undefined=$(nm -D --undefined-only "$module" | grep -oE '\bia_[a-z0-9_]+' | tr '\n' ' ') || true
[ -z "$undefined" ] || wrong "leaves undefined: $undefined"
dynamic=$(readelf -d "$module")
for flag in NODELETE BIND_NOW; do
    grep -q "$flag" <<<"$dynamic" || wrong "is not linked with $flag"
done
readelf -l "$module" | grep -q GNU_RELRO || wrong "has no GNU_RELRO segment"
[ "$failed" -eq 0 ] && echo "module: ok"
exit "$failed"
