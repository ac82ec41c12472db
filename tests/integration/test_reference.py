# SPDX-License-Identifier: ISC
"""docs/reference/ says what the code says; scripts/reference writes it."""

import importlib.machinery
import importlib.util
import shutil

import pg
import pytest


@pytest.fixture(scope="module")
def reference():
    loader = importlib.machinery.SourceFileLoader("reference", str(pg.ROOT / "scripts" / "reference"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("reference", loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def tree(tmp_path):
    """A copy of what the pages are made of."""
    for name in ("docs/reference", "sql/admin"):
        shutil.copytree(pg.ROOT / name, tmp_path / name)
    for name in ("plugin/options.c", "common/reason.h"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(pg.ROOT / name, tmp_path / name)
    return tmp_path


def differences(build, *arguments):
    table, rows = build(*arguments)
    return list(table.differences(rows))


@pytest.mark.parametrize("name", ["options", "reasons", "scripts"])
def test_a_page_says_what_the_code_says(reference, name):
    assert differences(reference.PAGES[name], pg.ROOT) == []


def test_the_page_of_sql_functions_says_what_the_schema_says(reference, database):
    assert differences(reference.functions, pg.ROOT, database) == []


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize("old,new,said", [
    ('"86400", 0, 315360000', '"86401", 0, 315360000', "says `86400` | 0 to 315360000 of `stale_max_s`; the code says `86401`"),
    ('"3600", 1, 86400', '"3600", 2, 86400', "the code says `3600` | 2 to 86400"),
    ('{"log_format", ', '{"log_colour", ', "has `log_format`, which the code does not have"),
    ('{"log_format", ', '{"log_colour", ', "does not describe `log_colour`"),
])
def test_another_option_default_or_bound_is_found(reference, tree, old, new, said):
    change(tree / "plugin" / "options.c", old, new)
    assert said in " ".join(differences(reference.options, tree))


def test_rows_in_another_order_are_found(reference, tree):
    table, rows = reference.options(tree)
    table.write([rows[1], rows[0], *rows[2:]])
    assert "another order" in " ".join(differences(reference.options, tree))


def test_another_signature_or_comment_is_found(reference, database):
    database.query("CREATE FUNCTION iot_auth.create_role(role text, more text DEFAULT 'x') RETURNS void LANGUAGE sql AS ''")
    database.query("GRANT EXECUTE ON FUNCTION iot_auth.create_role(text, text) TO iot_auth_admin")
    database.query("COMMENT ON FUNCTION iot_auth.drop_role(text) IS 'drops it'")
    found = " ".join(differences(reference.functions, pg.ROOT, database))
    assert "says `role text` |  of `create_role`; the code says `role text, more text = 'x'`" in found
    table, rows = reference.functions(pg.ROOT, database)
    assert ["`drop_role`", "`role text`", "", "drops it"] in rows


def test_what_was_written_once_is_kept(reference, tree):
    before = (tree / "docs/reference/options.md").read_text(encoding="utf-8")
    change(tree / "plugin" / "options.c", '"86400", 0, 315360000', '"7", 0, 8')
    table, rows = reference.options(tree)
    table.write(rows)
    after = (tree / "docs/reference/options.md").read_text(encoding="utf-8")
    assert after == before.replace("`86400` | 0 to 315360000", "`7` | 0 to 8") and differences(reference.options, tree) == []
