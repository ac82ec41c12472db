# SPDX-License-Identifier: ISC
"""The pages: every link leads somewhere, and the README's table of versions is that of the brokers that the tests run on."""

import pathlib
import re

import pytest

import broker as brokers

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PAGES = [*SOURCE.glob("*.md"), *sorted((SOURCE / "docs").rglob("*.md"))]
FENCE = re.compile(r"^ *```.*?^ *```", re.M | re.S)


def prose(page):
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page):
    """As GitHub makes them from headings; the second of the same name ends in -1."""
    seen, found = {}, set()
    for heading in re.findall(r"^#+ +(.*)$", prose(page), re.M):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        found.add(name if name not in seen else "%s-%d" % (name, seen[name]))
        seen[name] = seen.get(name, 0) + 1
    return found


def is_broken(page, link):
    """Of links into this repository: those to other hosts are not followed."""
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return not target.exists() or SOURCE not in target.resolve().parents or bool(anchor) and target.suffix == ".md" and anchor not in anchors(target)


def test_every_link_leads_to_a_page_and_a_heading_that_are_there():
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if not re.match(r"[a-z]+:", link)]
    assert len(links) > 100
    assert [("%s" % page.relative_to(SOURCE), link) for page, link in links if is_broken(page, link)] == []


def test_every_file_that_the_readme_runs_is_there():
    blocks = " ".join(FENCE.findall((SOURCE / "README.md").read_text(encoding="utf-8")))
    files = set(re.findall(r"(?<![\w/.])(?:scripts|sql/admin|examples)/[\w.-]+", blocks))
    assert len(files) > 3 and [file for file in files if not (SOURCE / file).exists()] == []


def versions():
    """Rows of the README: release → Mosquitto, OpenSSL, PostgreSQL."""
    table = (SOURCE / "README.md").read_text(encoding="utf-8").split("## Versions")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")][2:]
    return {row[0].split()[-1]: row[1:4] for row in rows}


@pytest.mark.parametrize("kind", brokers.KINDS)
def test_the_readme_names_the_mosquitto_that_the_tests_run_on(kind):
    if not brokers.usable(kind):
        pytest.skip("scripts/get-brokers has not been run")
    said = versions()["bookworm" if kind == "host" else kind][0]
    assert ".".join(map(str, brokers.version(kind))).startswith(said)


def test_the_readme_and_the_installation_page_name_the_same_versions():
    page = (SOURCE / "docs/install.md").read_text(encoding="utf-8")
    for column, what in enumerate(("Mosquitto", "OpenSSL", "PostgreSQL")):
        line = re.search(r"^\| %s.*$" % what, page, re.M)[0]
        assert [row[column] for row in versions().values()] == re.findall(r"\| (\d+(?:\.\d+)*)", line)
