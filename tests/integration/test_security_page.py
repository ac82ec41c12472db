# SPDX-License-Identifier: ISC
"""docs/security.md: every test that the page names exists, and every attacker has a section with at least one test."""

import re

import pytest

import pg

PAGE = pg.ROOT / "docs" / "security.md"
TESTS = pg.ROOT / "tests"

ATTACKERS = [
    "Stolen device key",
    "Stolen CA key",
    "Rogue tenant",
    "Hostile client before authentication",
    "One valid device",
    "One valid app",
    "Compromised identity provider",
    "Compromised broker",
    "Database reader",
    "Database writer",
    "Any login role of the same cluster",
    "Network attacker between broker and database",
    "Hostile load balancer",
    "Other plugins",
]

DEFINITION = {".py": r"^def {}\(", ".c": r"^START_TEST\({}\)"}
NAMED = re.compile(r"`(test_\w+)(\.py|\.c)::(\w+)`")


def sections():
    """{title: text}, in the order of the page."""
    parts = re.split(r"^## (.+)\n", PAGE.read_text(encoding="utf-8"), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def files(stem, suffix):
    return [path for folder in ("unit", "integration") for path in (TESTS / folder).rglob(stem + suffix)]


def exists(stem, suffix, function):
    """There is exactly one file of that name, and it has the test."""
    found = files(stem, suffix)
    return len(found) == 1 and re.search(DEFINITION[suffix].format(function), found[0].read_text(encoding="utf-8"), re.M)


def runs(stem, suffix, function):
    """A test of Check runs only where it was added to a case."""
    text = files(stem, suffix)[0].read_text(encoding="utf-8")
    return suffix == ".py" or re.search(r"tcase_add_\w+\(\w+, %s\b" % function, text)


def test_every_test_that_the_page_names_exists_and_runs():
    named = set(NAMED.findall(PAGE.read_text(encoding="utf-8")))
    assert len(named) > 100
    assert sorted("%s%s::%s" % test for test in named if not exists(*test)) == []
    assert sorted("%s%s::%s" % test for test in named if not runs(*test)) == []


def test_nothing_on_the_page_looks_like_a_test_and_is_not_checked():
    text = PAGE.read_text(encoding="utf-8")
    assert text.count("::") == len(NAMED.findall(text)) + text.count("`file::function`") + text.count("::1")


def test_every_attacker_has_a_section_in_the_order_of_the_list():
    assert list(sections()) == ATTACKERS


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_each_statement_has_a_test_or_says_that_it_has_none(attacker):
    section = sections()[attacker]
    rows = re.findall(r"^\| (can|cannot) \| (.+) \| (.+) \|$", section, re.M)
    assert {kind for kind, _what, _test in rows} == {"can", "cannot"}
    assert [what for _kind, what, test in rows if not NAMED.search(test) and test != "not tested"] == []
    assert [what for kind, what, test in rows if kind == "cannot" and test == "not tested"] == []
    assert "What to do: " in section


@pytest.mark.parametrize("name, found", [
    (("test_security_page", ".py", "test_every_attacker_has_a_section_in_the_order_of_the_list"), True),
    (("test_security_page", ".py", "test_every_attacker"), False),
    (("test_security_page", ".py", "sections_of"), False),
    (("test_no_such_file", ".py", "test_x"), False),
    (("test_reason", ".c", "reason_names_round_trip"), True),
    (("test_reason", ".c", "reason_names"), False),
])
def test_a_test_is_found_by_its_whole_name_only(name, found):
    assert bool(exists(*name)) == found
