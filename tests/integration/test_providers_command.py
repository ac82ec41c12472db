# SPDX-License-Identifier: ISC
"""The calls of iot-auth on the pages of docs/providers write what the statements for psql write."""

import pathlib
import re

import pg
import pytest
from iot_auth_kit import Command
from sql_kit import cursor

PAGES = sorted(path for path in (pg.ROOT / "docs/providers").glob("*.md") if path.name != "README.md")
ROWS = ("SELECT to_jsonb(i) - 'created_at' FROM iot_auth.oauth_issuer i", "SELECT issuer_name, scope, role FROM iot_auth.scope_role ORDER BY 2")


@pytest.fixture(scope="module")
def database(postgres):
    made = postgres.create_database()
    with cursor(made, pg.ADMIN) as c:
        c.call("create_role", "operator")
    yield made
    made.drop()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_command_of_a_page_does_what_its_statements_do(database, tmp_path, page):
    text = pathlib.Path(page).read_text(encoding="utf-8")
    statements = re.search(r"```sql\n(.*?)```", text, re.S).group(1)
    script = re.search(r"The same with the command:\n\n```sh\n(.*?)```", text, re.S).group(1)
    with cursor(database, pg.ADMIN) as c:
        c.all(statements)
        expected = [c.all(rows) for rows in ROWS]
        c.all("DELETE FROM iot_auth.oauth_issuer")
        command = Command(database, tmp_path, program="/bin/sh")
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "iot-auth").symlink_to(Command(database, tmp_path).program)
        command.done("-e", "-c", script, PATH="%s:/usr/bin:/bin" % folder)
        assert [c.all(rows) for rows in ROWS] == expected
        c.all("DELETE FROM iot_auth.oauth_issuer")
