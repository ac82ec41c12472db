# SPDX-License-Identifier: ISC
"""scripts/test --clean-cache, with a /var/cache of its own: it removes what the scripts have made there, and nothing else."""

import os
import pathlib
import subprocess

import pytest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
CACHE = "/var/cache/mosquitto-iot-auth"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


def clean_cache(*before):
    """Exit status and output, and what is left below /var/cache."""
    script = "\n".join(["mount -t tmpfs none /var/cache || exit 77", "mkdir /var/cache/other", *before,
                        "scripts/test --clean-cache 2>&1; echo exit $?", "find /var/cache -mindepth 1 | sort"])
    done = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script], cwd=SOURCE,
                          capture_output=True, text=True, timeout=60, check=False)
    if done.returncode == 77:
        pytest.skip("nothing can be mounted here")
    said, _, rest = done.stdout.partition("\nexit ")
    status, *left = rest.splitlines()
    return int(status), said, left


def test_all_that_was_fetched_is_removed_and_named():
    status, said, left = clean_cache("mkdir -p %s/roots/sid %s/ccache" % (CACHE, CACHE), "touch %s/roots/sid/file" % CACHE)
    assert status == 0 and left == ["/var/cache/other"]
    assert all(word in said for word in (CACHE, "roots", "ccache"))


def test_nothing_is_there_to_be_removed():
    assert clean_cache() == (0, "%s does not exist." % CACHE, ["/var/cache/other"])


def test_a_cache_that_is_in_use_stays():
    status, said, left = clean_cache("mkdir -p %s/roots/sid" % CACHE, "mount -t tmpfs none %s/roots/sid" % CACHE)
    assert status == 1 and "%s/roots/sid is mounted" % CACHE in said
    assert CACHE + "/roots/sid" in left
