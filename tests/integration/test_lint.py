# SPDX-License-Identifier: ISC
"""tests/lint.sh finds each kind of fault that it checks for."""

import pathlib
import shutil
import subprocess

import pytest

LINT = pathlib.Path(__file__).resolve().parents[1] / "lint.sh"

BREACHES = [
    # (file, text, what is reported)
    ("acl/a.c", '#include "sql/db.h"\n', "layer: acl/a.c:1: acl/ may not include sql/db.h"),
    ("acl/a.c", '#include "x509/chain.h"\n', "layer: acl/a.c:1: acl/ may not include x509/chain.h"),
    ("jitr/a.c", '#include "access/rights.h"\n', "layer: jitr/a.c:1: jitr/ may not include access/rights.h"),
    ("access/a.c", '#include "worker/worker.h"\n', "layer: access/a.c:1: access/ may not include worker/worker.h"),
    ("worker/a.c", '#include "plugin/login.h"\n', "layer: worker/a.c:1: worker/ may not include plugin/login.h"),
    ("cli/a.c", '#include "plugin/options.h"\n', "layer: cli/a.c:1: cli/ may not include plugin/options.h"),
    ("cli/a.c", '#include "worker/worker.h"\n', "layer: cli/a.c:1: cli/ may not include worker/worker.h"),
    ("plugin/a.c", '#include "cli/util.h"\n', "layer: plugin/a.c:1: plugin/ may not include cli/util.h"),
    ("acl/a.c", '\n#include "ip.h"\n', 'layer: acl/a.c:2: include by its folder: "ip.h"'),
    ("jitr/a.c", "#include <libpq-fe.h>\n", "third-party: jitr/a.c:1:#include <libpq-fe.h>"),
    ("worker/a.c", "#include <libpq-fe.h>\n", "third-party: worker/a.c:1:#include <libpq-fe.h>"),
    ("sql/a.h", "#pragma once\n#include <jansson.h>\n", "third-party: sql/a.h:2:#include <jansson.h>"),
    ("worker/a.c", "#include <curl/curl.h>\n", "third-party: worker/a.c:1:#include <curl/curl.h>"),
    ("jitr/a.c", "#include <mosquitto_broker.h>\n", "third-party: jitr/a.c:1:#include <mosquitto_broker.h>"),
    ("access/a.c", "#include <mosquitto.h>\n", "third-party: access/a.c:1:#include <mosquitto.h>"),
    ("x509/a.c", "#include <openssl/ssl.h>\n", "third-party: x509/a.c:1:#include <openssl/ssl.h>"),
    ("oauth/a.c", "#include <openssl/x509v3.h>\n", "third-party: oauth/a.c:1:#include <openssl/x509v3.h>"),
    ("common/a.c", "\n\nint a = f(strcpy(b, c));\n", "forbidden-call: common/a.c:3:int a = f(strcpy(b, c));"),
    ("sql/a.c", 'void *a = PQexec (c, "x");\n', "forbidden-call: sql/a.c:1"),
    ("acl/a.c", "/* T" "ODO: later */\n", "todo: acl/a.c:1"),
    ("acl/a.c", "int  a;\n", "format: acl/a.c:1"),
    ("acl/a.c", "/* Text\n */\nint a;\n", "comment-end: acl/a.c:2"),
    ("tests/a.c", 'const char *a = "of two par"\n                "ts";\n', "string: tests/a.c:2"),
    ("oauth/a.c", "int f(void)\n{\n" + "    g();\n" * 58 + "}\n", "function-length: oauth/a.c:1: f has 61 lines"),
    ("acl/a.h", "int a;\n", "header: acl/a.h:1: no #pragma once"),
    ("acl/a.h", '#include "acl/a.h"\n', "header-circle: acl/a.h:1: in a circle of 1 headers: uses acl/a.h"),
    ("docs/a.md", "# Title\n", "spdx: docs/a.md:1: no SPDX line"),
    ("sql/admin/a.sql", "SELECT 1;\n", "spdx: sql/admin/a.sql:1: no SPDX line"),
    ("scripts/a", "#!/usr/bin/env bash\nif then\n", "script: scripts/a: line 2"),
]

FINE = [
    ("layer", "plugin/a.c", '#include "jitr/cache.h"\n#include "worker/worker.h"\n#include "plugin/b.h"\n'),
    ("layer", "cli/a.c", '#include "access/rights.h"\n'),
    ("layer", "sql/a.c", '#include "acl/ip.h"\n'),
    ("third-party", "plugin/a.c", "#include <mosquitto_broker.h>\n#include <openssl/ssl.h>\n"),
    ("third-party", "sql/a.c", "#include <libpq-fe.h>\n"),
    ("forbidden-call", "acl/a.c", "/* unlike strcpy(a, b)\n * or system(c) */\nint a; // gets(d)\n"),
    ("forbidden-call", "acl/a.c", "int a = ia_system(b) + x->gets(c);\n"),
    ("forbidden-call", "sql/a.c", "void *a = PQexecPrepared(b);\n"),
    ("todo", "acl/a.c", "/* T" "ODO #12: later */\n"),
    ("comment-end", "acl/a.c", "/* Text.\n * More text. */\nint a = b * /* c */ d;\n"),
    ("string", "tests/a.c", 'const char *a = "of two lines\\n"\n                "and words " "here";\n'),
    ("string", "tests/a.c", 'const char *a = "arZRmBeSN9383LcOLn6"\n                "arZRmBeSN9383LcOLn6";\n'),
    ("function-length", "oauth/a.c", "int f(void)\n{\n" + "    g();\n" * 57 + "}\n"),
    ("spdx", "docs/a.md", "<!-- SPDX-License-Identifier: ISC -->\n"),
]


def lint(folder, rule, name, text):
    path = plant(folder, name, text)
    if path.suffix in (".c", ".h"):
        (folder / ".clang-format").write_text("# SPDX-License-Identifier: ISC\nBasedOnStyle: LLVM\nIndentWidth: 4\n")
    return subprocess.run([LINT, folder, rule], capture_output=True, text=True, check=False)


def plant(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)
    return path


@pytest.mark.parametrize("name,text,reported", BREACHES, ids=lambda value: None)
def test_a_breach_is_reported(tmp_path, name, text, reported):
    run = lint(tmp_path, reported.split(":")[0], name, text)
    assert reported in run.stdout
    assert run.returncode == 1


@pytest.mark.parametrize("rule,name,text", FINE, ids=lambda value: None)
def test_what_is_allowed_passes(tmp_path, rule, name, text):
    run = lint(tmp_path, rule, name, text)
    assert (run.stdout, run.returncode) == ("lint: nothing found\n", 0)


def test_a_header_that_includes_itself_by_another_is_reported(tmp_path):
    plant(tmp_path, "acl/a.h", '#include "acl/b.h"\n')
    plant(tmp_path, "acl/b.h", '#include "common/c.h"\n')
    run = lint(tmp_path, "header-circle", "common/c.h", '#include "acl/a.h"\n')
    assert "header-circle: acl/b.h:1: in a circle of 3 headers: uses common/c.h (#include)\n" in run.stdout
    assert run.returncode == 1


# Planted all at once in a copy of this checkout, each as the end of a file: so no fault hides behind what the real files
# hold, nor behind another fault.
PLANTED = [
    # (file, text, what is reported)
    ("oauth/jwks.h", '#include "access/rights.h"\n', "layer: oauth/jwks.h:"),
    ("x509/chain.c", "#include <curl/curl.h>\n", "third-party: x509/chain.c:"),
    ("acl/trie.c", "int planted(char *a) { return atoi(a); }\n", "forbidden-call: acl/trie.c:"),
    ("common/str.c", "// T" "ODO: later\n", "todo: common/str.c:"),
    ("sql/query.c", "int  planted;\n", "format: sql/query.c:"),
    ("sql/io.c", "/* Planted.\n */\n", "comment-end: sql/io.c:"),
    ("sql/codec.c", 'const char *planted = "of two par"\n"ts";\n', "string: sql/codec.c:"),
    ("acl/ip.c", "int planted(void)\n{\n" + "f();\n" * 60 + "}\n", "function-length: acl/ip.c:"),
    ("acl/planted.h", "int a;\n", "header: acl/planted.h:1:"),
    ("common/str.h", '#include "common/planted.h"\n', "header-circle: common/str.h:"),
    ("common/planted.h", '#pragma once\n#include "common/str.h"\n', "header-circle: common/planted.h:"),
    ("docs/planted.md", "# Planted\n", "spdx: docs/planted.md:"),
    ("scripts/demo", "if then\n", "script: scripts/demo: line"),
    ("plugin/options.c", '{"planted", parse_text, 0, "on", 0, 0},\n', "options: plugin/options.c has option: planted on"),
]


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """What lint says of a copy of this checkout in which every fault has been planted."""
    checkout = LINT.parents[1]
    copy = tmp_path_factory.mktemp("copy") / "tree"
    shutil.copytree(checkout, copy, ignore=shutil.ignore_patterns(".git", "build", "__pycache__"))
    for name, text, _ in PLANTED:
        plant(copy, name, text)
    return subprocess.run([LINT, copy], capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("name,text,reported", PLANTED, ids=lambda value: None)
def test_a_fault_planted_in_a_copy_of_the_tree_is_reported(planted, name, text, reported):
    assert reported in planted


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
    run = lint(tmp_path, "options", "plugin/options.c", OPTIONS)
    assert reported is None or reported in run.stdout
    assert ("options:" in run.stdout) == (reported is not None)
