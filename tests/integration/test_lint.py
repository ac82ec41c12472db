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
    ("jitr/a.c", "#include <worker/worker.h>\n", "layer: jitr/a.c:1: include by quotes: worker/worker.h"),
    ("jitr/a.c", "int a;\nextern int ia_worker_ask(void);\n", "layer: jitr/a.c:2: declared here, and not by its header"),
    ("acl/a.c", '\n#include "ip.h"\n', 'layer: acl/a.c:2: include by its folder: "ip.h"'),
    ("jitr/a.c", "#include <libpq-fe.h>\n", "third-party: jitr/a.c:1:#include <libpq-fe.h>"),
    ("worker/a.c", "#include <libpq-fe.h>\n", "third-party: worker/a.c:1:#include <libpq-fe.h>"),
    ("sql/a.h", "#pragma once\n#include <jansson.h>\n", "third-party: sql/a.h:2:#include <jansson.h>"),
    ("cli/a.c", "#include <curl/curl.h>\n", "third-party: cli/a.c:1:#include <curl/curl.h>"),
    ("worker/a.c", "#include <curl/curl.h>\n", "third-party: worker/a.c:1:#include <curl/curl.h>"),
    ("jitr/a.c", "#include <mosquitto_broker.h>\n", "third-party: jitr/a.c:1:#include <mosquitto_broker.h>"),
    ("access/a.c", "#include <mosquitto.h>\n", "third-party: access/a.c:1:#include <mosquitto.h>"),
    ("x509/a.c", "#include <openssl/ssl.h>\n", "third-party: x509/a.c:1:#include <openssl/ssl.h>"),
    ("oauth/a.c", "#include <openssl/x509v3.h>\n", "third-party: oauth/a.c:1:#include <openssl/x509v3.h>"),
    ("common/a.c", "\n\nint a = f(strcpy(b, c));\n", "forbidden-call: common/a.c:3:int a = f(strcpy(b, c));"),
    ("sql/a.c", 'void *a = PQexec (c, "x");\n', "forbidden-call: sql/a.c:1"),
    ("oauth/a.c", "void f(void)\n{\n    goto out;\n}\n", "forbidden-call: oauth/a.c:3:    goto out;"),
    ("bench/a.c", "int a = atoi(b);\n", "forbidden-call: bench/a.c:1"),
    ("tests/swarm/a.c", "int a;\n" * 451, "file-length: tests/swarm/a.c:1: has 451 lines"),
    ("tests/integration/a.c", "int a;\n" * 451, "file-length: tests/integration/a.c:1: has 451 lines"),
    ("bench/a.c", "int f(void)\n{\n" + "    g();\n" * 58 + "}\n", "function-length: bench/a.c:1: f has 61 lines"),
    ("bench/a.h", "int a;\n", "header: bench/a.h:1: no #pragma once"),
    ("plugin/a.c", "int a = poll(&p, 1, 10);\n", "broker-waits: plugin/a.c:1"),
    ("plugin/a.c", "int a = poll(&p, 1, 0) + usleep(5);\n", "broker-waits: plugin/a.c:1"),
    ("jitr/a.c", '#include "jitr/../worker/worker.h"\n', 'layer: jitr/a.c:1: include by its folder: "jitr/../worker/worker.h"'),
    ("plugin/a.c", "int a = pthread_mutex_lock(&b);\n", "broker-waits: plugin/a.c:1"),
    ("tls/a.c", 'void *a = fopen(b, "r");\n', "broker-waits: tls/a.c:1"),
    ("plugin/a.c", "void *a = ia_worker_reply_wait(b, 10);\n", "broker-waits: plugin/a.c:1"),
    ("plugin/a.c", "bool a = ia_replies_wait_at_start(b, 10);\n", "broker-waits: plugin/a.c:1"),
    ("tls/a.c", "int a = pthread_cond_wait(&b, &c);\n", "broker-waits: tls/a.c:1"),
    ("acl/a.c", "/* T" "ODO: later */\n", "todo: acl/a.c:1"),
    ("acl/a.c", "int  a;\n", "format: acl/a.c:1"),
    ("acl/a.c", "/* Text\n */\nint a;\n", "comment-end: acl/a.c:2"),
    ("tests/a.c", 'const char *a = "of two par"\n                "ts";\n', "string: tests/a.c:2"),
    ("oauth/a.c", "int f(void)\n{\n" + "    g();\n" * 58 + "}\n", "function-length: oauth/a.c:1: f has 61 lines"),
    ("oauth/a.c", "int a;\n" * 451, "file-length: oauth/a.c:1: has 451 lines"),
    ("oauth/a.c", "int a;\n", "folder-size: oauth: has 1 of 1 lines"),
    ("plugin/a.c", '#include "sql/db.h"\n', "database-include: plugin/a.c:1: may not include sql/db.h"),
    ("acl/a.h", "int a;\n", "header: acl/a.h:1: no #pragma once"),
    ("acl/a.h", '#include "acl/a.h"\n', "header-circle: acl/a.h:1: in a circle of 1 headers: uses acl/a.h"),
    ("docs/a.md", "Text.\nSee `acl/no.c`.\n", "path: docs/a.md:2: there is no acl/no.c"),
    ("docs/a.md", "# Title\n", "spdx: docs/a.md:1: no SPDX line"),
    ("sql/admin/a.sql", "SELECT 1;\n", "spdx: sql/admin/a.sql:1: no SPDX line"),
    ("scripts/a", "#!/usr/bin/env bash\nif then\n", "script: scripts/a: line 2"),
]

FINE = [
    ("layer", "plugin/a.c", '#include "jitr/cache.h"\n#include "worker/worker.h"\n#include "plugin/b.h"\n'),
    ("layer", "cli/a.c", '#include "access/rights.h"\n'),
    ("layer", "sql/a.c", '#include "acl/ip.h"\n#include <openssl/x509.h>\n'),
    ("layer", "sql/a.h", "#pragma once\nextern const int ia_a[2];\n"),
    ("third-party", "plugin/a.c", "#include <mosquitto_broker.h>\n#include <openssl/ssl.h>\n"),
    ("third-party", "sql/a.c", "#include <libpq-fe.h>\n"),
    ("third-party", "cli/a.c", "#include <jansson.h>\n#include <libpq-fe.h>\n"),
    ("forbidden-call", "acl/a.c", "/* unlike strcpy(a, b)\n * or system(c) */\nint a; // gets(d)\n"),
    ("forbidden-call", "acl/a.c", "int a = ia_system(b) + x->gets(c);\n"),
    ("forbidden-call", "sql/a.c", "void *a = PQexecPrepared(b);\n"),
    ("broker-waits", "tls/a.c", "int a = poll(&p, 1, 0);\n"),
    ("broker-waits", "tls/a.c", "int a = ia_gate_open(b) + c->connect(d);\n"),
    ("broker-waits", "worker/a.c", "int a = pthread_mutex_lock(&b);\n"),
    ("broker-waits", "sql/a.c", "int a = poll(&p, 1, 10);\n"),
    ("todo", "acl/a.c", "/* T" "ODO #12: later */\n"),
    ("comment-end", "acl/a.c", "/* Text.\n * More text. */\nint a = b * /* c */ d;\n"),
    ("string", "tests/a.c", 'const char *a = "of two lines\\n"\n                "and words " "here";\n'),
    ("string", "tests/a.c", 'const char *a = "arZRmBeSN9383LcOLn6"\n                "arZRmBeSN9383LcOLn6";\n'),
    ("function-length", "oauth/a.c", "int f(void)\n{\n" + "    g();\n" * 57 + "}\n"),
    ("file-length", "oauth/a.c", "int a;\n" * 450),
    ("folder-size", "cli/a.c", "int a;\n"),
    ("database-include", "worker/a.c", '#include "sql/db.h"\n'),
    ("word", "docs/a.md", "A recommendation to amend untold black packages.\n"),
    ("path", "docs/a.md", "See `docs/a.md`, and `$iot-auth/events/` or `/etc/mosquitto/acl/x.c`.\n"),
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


@pytest.mark.parametrize("version,code", [("1.2.3", 0), ("1.2.30", 1)])
def test_the_packages_version_is_the_one_of_cmake(tmp_path, version, code):
    plant(tmp_path, "CMakeLists.txt", "project(mosquitto-iot-auth VERSION %s LANGUAGES C\n" % version)
    run = lint(tmp_path, "version", "debian/changelog", "mosquitto-iot-auth (1.2.3-1) unstable; urgency=medium\n")
    assert ("version: debian/changelog:1: is not version 1.2.30 of CMakeLists.txt" in run.stdout, run.returncode) == (code == 1, code)


def test_a_header_that_includes_itself_by_another_is_reported(tmp_path):
    plant(tmp_path, "acl/a.h", '#include "acl/b.h"\n')
    plant(tmp_path, "acl/b.h", '#include "common/c.h"\n')
    run = lint(tmp_path, "header-circle", "common/c.h", '#include "acl/a.h"\n')
    assert "header-circle: acl/b.h:1: in a circle of 3 headers: uses common/c.h (#include)\n" in run.stdout
    assert run.returncode == 1


def test_an_include_of_the_database_connection_is_reported_by_its_whole_path(tmp_path):
    plant(tmp_path, "jitr/b.h", '#include "sql/db.h"\n')
    run = lint(tmp_path, "database-include", "plugin/a.c", '#include "jitr/b.h"\n')
    assert "may not include sql/db.h: plugin/a.c > jitr/b.h > sql/db.h\n" in run.stdout


def test_a_bare_static_name_in_two_files_is_reported_in_both(tmp_path):
    plant(tmp_path, "acl/a.c", "static int\nrefuse(int a)\n{\n    return a;\n}\nint refuse_a(void)\n{\n    return 0;\n}\n")
    run = lint(tmp_path, "static-name", "oauth/b.c", "static void refuse(void)\n{\n}\n")
    assert "static-name: acl/a.c:2: static refuse() stands in acl/a.c oauth/b.c\n" in run.stdout
    assert "static-name: oauth/b.c:1: static refuse() stands in acl/a.c oauth/b.c\n" in run.stdout
    assert run.stdout.endswith("lint: 2 found\n")


def test_a_static_name_with_a_noun_may_stand_in_two_files(tmp_path):
    plant(tmp_path, "acl/a.c", "static void refuse_rule(void)\n{\n}\nstatic void once(void)\n{\n}\n")
    run = lint(tmp_path, "static-name", "oauth/b.c", "static void refuse_rule(void)\n{\n}\n")
    assert run.stdout == "lint: nothing found\n"


def banned_words():
    """(word or phrase, what to say instead) of each row of the list."""
    for line in (LINT.parent / "lint" / "banned-words.txt").read_text().split("\n"):
        if line and not line.startswith("#"):
            alternatives, replacement = line.split("->")
            yield from ((phrase.strip(), replacement.strip()) for phrase in alternatives.split("|"))


BANNED = list(banned_words())
WORD = BANNED[0][0]


def test_each_banned_word_is_reported_with_its_replacement(tmp_path):
    run = lint(tmp_path, "word", "docs/a.md", "".join("%s.\n\n" % phrase for phrase, _ in BANNED))
    for number, (phrase, replacement) in enumerate(BANNED):
        assert "word: docs/a.md:%d: '%s'; say: %s\n" % (2 * number + 1, phrase, replacement) in run.stdout


@pytest.mark.parametrize(
    "name,text,line",
    [
        ("acl/a.c", "/* Read it %s. */\n", 1),
        ("acl/a.c", 'const char *a = "b\\n%s";\n', 1),
        ("acl/a.c", "int ia_%s_roles;\n", 1),
        ("tests/unit/a.py", "\ndef test_a_%s_device():\n", 2),
        ("tests/a.mjs", "const x%s = 1;\n", 1),
        ("sql/a.sql", "-- %s\n", 1),
        ("README.md", "\n%s\n", 2),
        ("scripts/a", "echo '%s'\n", 1),
    ],
)
def test_a_banned_word_is_reported_wherever_it_stands(tmp_path, name, text, line):
    written = WORD.capitalize() if "mjs" in name else WORD.upper() if name == "README.md" else WORD
    run = lint(tmp_path, "word", name, text % written)
    assert "word: %s:%d: '%s'" % (name, line, WORD) in run.stdout


def test_a_banned_phrase_is_reported_across_lines(tmp_path):
    phrase = next(phrase for phrase, _ in BANNED if " " in phrase)
    run = lint(tmp_path, "word", "acl/a.c", "/* %s. */\n" % phrase.replace(" ", "\n * ", 1))
    assert "word: acl/a.c:1: '%s'" % phrase in run.stdout


def test_a_banned_word_in_a_files_name_is_reported(tmp_path):
    run = lint(tmp_path, "word", "acl/%s_rules.c" % WORD, "int a;\n")
    assert "word: acl/%s_rules.c: '%s' in the file's name" % (WORD, WORD) in run.stdout


OBJECTS = {
    "acl/a.c": "int a(void);\nint b(void);\nint a(void) { return b(); }\n",
    "acl/b.c": "int b(void);\nint c(void);\nint b(void) { return c(); }\n",
    "common/c.c": "int c(void);\nint %s(void);\nint c(void) { return %s(); }\n",
}


def build_objects(folder, sources):
    """Compile {name: text} to where a build in that folder has them."""
    for name, text in sources.items():
        source = plant(folder, name, text)
        made = folder / "build/release" / source.parent.name / "CMakeFiles/x.dir" / (source.name + ".o")
        made.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-c", source, "-o", made], check=True)


@pytest.mark.parametrize("used,circle", [("a", True), ("other", False)])
def test_objects_that_use_one_another_by_a_third_are_reported(tmp_path, monkeypatch, used, circle):
    monkeypatch.delenv("IOT_AUTH_BUILD", raising=False)
    build_objects(tmp_path, {name: text.replace("%s", used) for name, text in OBJECTS.items()})
    run = subprocess.run([LINT, tmp_path, "object-circle"], capture_output=True, text=True, check=False)
    assert ("object-circle: acl/b.c:1: in a circle of 3 objects: uses common/c.c (c)\n" in run.stdout) == circle
    assert run.returncode == (1 if circle else 0)


def test_without_a_build_the_search_for_circles_says_that_it_was_skipped(tmp_path, monkeypatch):
    monkeypatch.delenv("IOT_AUTH_BUILD", raising=False)
    run = lint(tmp_path, "object-circle", "acl/a.c", "int a;\n")
    assert "there is no build/release" in run.stderr
    assert run.returncode == 0


@pytest.mark.parametrize(
    "name,text,rule,reported",
    [
        ("jitr/b.c", "int a(void);\nint b(void) { return a(); }\n", "object-layer", "jitr/b.c:1: jitr/ may not use a of plugin/a.c"),
        ("tls/b.c", "int a(void);\nint (*b)(void) = a;\n", "object-layer", "tls/b.c:1: tls/ may not use a of plugin/a.c"),
        ("acl/b.c", "#include <string.h>\nchar *(*b)(char *, const char *) = strcpy;\n", "object-call", "acl/b.c:1: uses strcpy"),
        ("tls/b.c", "#include <unistd.h>\nint b(void) { return (usleep)(1); }\n", "object-call", "tls/b.c:1: uses usleep"),
        ("plugin/b.c", "int a(void);\nint b(void) { return a(); }\n", "object-layer", None),
        ("worker/b.c", "#include <unistd.h>\nint b(void) { return usleep(1); }\n", "object-call", None),
    ],
    ids=lambda value: None,
)
def test_what_an_object_uses_is_seen_however_it_is_spelt(tmp_path, monkeypatch, name, text, rule, reported):
    monkeypatch.delenv("IOT_AUTH_BUILD", raising=False)
    build_objects(tmp_path, {"plugin/a.c": "int a(void);\nint a(void) { return 1; }\n", name: text})
    run = subprocess.run([LINT, tmp_path, rule], capture_output=True, text=True, check=False)
    assert "%s: %s" % (rule, reported) in run.stdout if reported else run.stdout == "lint: nothing found\n"


@pytest.mark.parametrize(
    "header,user,reported",
    [
        ("int ia_a(void);\n", "int b;\n", "dead-symbol: acl/a.h:1: no other object uses ia_a of acl/a.c"),
        ("extern int x;\nextern const int ia_a[2];\n", "int b;\n", "dead-symbol: acl/a.h:2: no other object uses ia_a"),
        ("int ia_a(void);\n", "int ia_a(void);\nint b(void) { return ia_a(); }\n", None),
        ("/* ---- for the tests */\n\nint ia_a(void);\n", "int b;\n", None),
        ("int ia_b(void);\n", "int b;\n", None),  # what no header declares is called by a loader
    ],
    ids=lambda value: None,
)
def test_a_symbol_that_only_its_own_object_uses_is_reported(tmp_path, monkeypatch, header, user, reported):
    monkeypatch.delenv("IOT_AUTH_BUILD", raising=False)
    plant(tmp_path, "acl/a.h", header)
    body = "const int ia_a[2] = {1};\n" if "[2]" in header else "int ia_a(void);\nint ia_a(void) { return 1; }\n"
    build_objects(tmp_path, {"acl/a.c": body, "sql/b.c": user})
    run = subprocess.run([LINT, tmp_path, "dead-symbol"], capture_output=True, text=True, check=False)
    assert reported in run.stdout if reported else run.stdout == "lint: nothing found\n"


# Planted all at once in a copy of this checkout, each as the end of a file: so no fault hides behind what the real files
# hold, nor behind another fault.
PLANTED = [
    # (file, text, what is reported)
    ("oauth/jwks.h", '#include "access/rights.h"\n', "layer: oauth/jwks.h:"),
    ("x509/chain.c", "#include <curl/curl.h>\n", "third-party: x509/chain.c:"),
    ("acl/trie.c", "int planted(char *a) { return atoi(a); }\n", "forbidden-call: acl/trie.c:"),
    ("bench/acl.c", "int planted(char *a) { return atoi(a); }\n", "forbidden-call: bench/acl.c:"),
    ("plugin/login.c", "int planted(void) { return pthread_cond_wait(a, b); }\n", "broker-waits: plugin/login.c:"),
    ("tls/parking.c", "int planted(void) { return usleep(1); }\n", "broker-waits: tls/parking.c:"),
    ("tests/swarm/planted.c", "int a;\n" * 451, "file-length: tests/swarm/planted.c:"),
    ("jitr/device.c", '#include <worker/worker.h>\n', "layer: jitr/device.c:"),
    ("common/str.c", "// T" "ODO: later\n", "todo: common/str.c:"),
    ("sql/query.c", "int  planted;\n", "format: sql/query.c:"),
    ("sql/io.c", "/* Planted.\n */\n", "comment-end: sql/io.c:"),
    ("sql/codec.c", 'const char *planted = "of two par"\n"ts";\n', "string: sql/codec.c:"),
    ("acl/ip.c", "int planted(void)\n{\n" + "f();\n" * 60 + "}\n", "function-length: acl/ip.c:"),
    ("jitr/planted.c", "int a;\n" * 451, "file-length: jitr/planted.c:"),
    ("x509/planted.c", "int a;\n" * 20000, "folder-size: x509: has"),
    ("jitr/planted.h", '#include "sql/db.h"\n', "database-include: jitr/planted.h:"),
    ("oauth/planted.c", "static void planted(void)\n{\n}\n", "static-name: oauth/planted.c:1: static planted() stands in"),
    ("sql/planted.c", "static void planted(void)\n{\n}\n", "static-name: sql/planted.c:1: static planted() stands in"),
    ("sql/copy.c", "// %s\n" % WORD, "word: sql/copy.c:"),
    ("acl/planted.h", "int a;\n", "header: acl/planted.h:1:"),
    ("common/str.h", '#include "common/planted.h"\n', "header-circle: common/str.h:"),
    ("common/planted.h", '#pragma once\n#include "common/str.h"\n', "header-circle: common/planted.h:"),
    ("docs/planted.md", "# Planted\n", "spdx: docs/planted.md:"),
    ("docs/README.md", "`plugin/planted.c`\n", "path: docs/README.md:"),
    ("scripts/demo", "if then\n", "script: scripts/demo: line"),
    ("plugin/options.c", '{"planted", parse_text, 0, "on", 0, 0},\n', "reference: docs/reference/options.md: does not have `planted`"),
    ("common/reason.h", ' X(PLANTED, "planted")\n', "reference: docs/reference/reasons.md: does not have `planted`"),
    ("sql/admin/planted.sql", "-- SPDX-License-Identifier: ISC\n", "reference: docs/reference/sql.md: does not have `planted.sql`"),
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
