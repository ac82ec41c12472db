# SPDX-License-Identifier: ISC
"""tests/lint.sh finds each kind of fault that it checks for."""

import pathlib
import subprocess

import pytest

LINT = pathlib.Path(__file__).resolve().parents[1] / "lint.sh"

BREACHES = [
    # (file, text, what is reported)
    ("acl/a.c", '#include "sql/db.h"\n', "layer: acl/a.c:1: acl/ may not include sql/db.h"),
    ("acl/a.c", '#include "x509/chain.h"\n', "layer: acl/a.c:1: acl/ may not include x509/chain.h"),
    ("cli/a.c", '#include "plugin/options.h"\n', "layer: cli/a.c:1: cli/ may not include plugin/options.h"),
    ("acl/a.c", '\n#include "ip.h"\n', 'layer: acl/a.c:2: include by its folder: "ip.h"'),
    ("jitr/a.c", "#include <libpq-fe.h>\n", "third-party: jitr/a.c:1:#include <libpq-fe.h>"),
    ("sql/a.h", "#pragma once\n#include <jansson.h>\n", "third-party: sql/a.h:2:#include <jansson.h>"),
    ("jitr/a.c", "#include <mosquitto_broker.h>\n", "third-party: jitr/a.c:1:#include <mosquitto_broker.h>"),
    ("oauth/a.c", "#include <openssl/x509v3.h>\n", "third-party: oauth/a.c:1:#include <openssl/x509v3.h>"),
    ("common/a.c", "\n\nint a = f(strcpy(b, c));\n", "forbidden-call: common/a.c:3:int a = f(strcpy(b, c));"),
    ("sql/a.c", 'void *a = PQexec (c, "x");\n', "forbidden-call: sql/a.c:1"),
    ("acl/a.c", "/* T" "ODO: later */\n", "todo: acl/a.c:1"),
    ("acl/a.c", "int  a;\n", "format: acl/a.c:1"),
    ("acl/a.h", "int a;\n", "header: acl/a.h:1: no #pragma once"),
    ("scripts/a", "#!/usr/bin/env bash\nif then\n", "script: scripts/a: line 2"),
]

FINE = [
    ("plugin/a.c", '#include "jitr/cache.h"\n#include <mosquitto_broker.h>\n#include <openssl/ssl.h>\n'),
    ("sql/a.c", '#include "acl/ip.h"\n#include <libpq-fe.h>\n'),
    ("acl/a.c", "/* unlike strcpy(a, b)\n * or system(c) */\nint a; // gets(d)\n"),
    ("acl/a.c", "/* T" "ODO #12: later */\nint a = ia_system(b) + x->gets(c);\n"),
    ("sql/a.c", "void *a = PQexecPrepared(b);\n"),
]


def lint(folder, name, text):
    (folder / ".clang-format").write_text("BasedOnStyle: LLVM\n")
    path = folder / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return subprocess.run([LINT, folder], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name,text,reported", BREACHES, ids=lambda value: None)
def test_a_breach_is_reported(tmp_path, name, text, reported):
    run = lint(tmp_path, name, text)
    assert reported in run.stdout
    assert run.returncode == 1


@pytest.mark.parametrize("name,text", FINE, ids=lambda value: None)
def test_what_is_allowed_passes(tmp_path, name, text):
    run = lint(tmp_path, name, text)
    assert (run.stdout, run.returncode) == ("lint: nothing found\n", 0)


README = """
| option | default | meaning |
| --- | --- | --- |
| `db_conninfo` | (required) | where |
| `tls_gate` | %s | which |
%s
Text.
"""
OPTIONS = """
static const struct option table[] = {
    {"db_conninfo", parse_text, FIELD(db_conninfo), NULL, 0, 0},
    {"tls_gate", parse_gate, 0, "on", 0, 0},
};
"""


@pytest.mark.parametrize(
    "default,more,reported",
    [
        ("on", "", None),
        ("off", "", "options: README.md has option: tls_gate off"),
        ("on", "| `colour` | red | none |\n", "options: README.md has option: colour red"),
    ],
)
def test_the_readmes_options_are_compared(tmp_path, default, more, reported):
    (tmp_path / "README.md").write_text(README % (default, more))
    run = lint(tmp_path, "plugin/options.c", OPTIONS)
    assert reported is None or reported in run.stdout
    assert ("options:" in run.stdout) == (reported is not None)
