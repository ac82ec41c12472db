# SPDX-License-Identifier: ISC
"""The pages: every link leads somewhere, and the README's table of versions is that of the brokers that the tests run on."""

import collections
import pathlib
import re
import sys

import pytest

import broker as brokers

SOURCE = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(SOURCE / "bench"))

import report  # noqa: E402

RESULTS = SOURCE / "bench/RESULTS.md"
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


# Figures


Result = collections.namedtuple("Result", "row what unit value base ratio spread must")


@pytest.mark.skipif(not RESULTS.exists(), reason="scripts/bench has not written its results")
def test_the_readmes_figures_are_those_of_the_results():
    assert report.readme(RESULTS.read_text(encoding="utf-8")) in (SOURCE / "README.md").read_text(encoding="utf-8")


def test_the_benchmark_writes_its_figures_into_the_readme_and_nothing_else(tmp_path):
    page = tmp_path / "README.md"
    before = (SOURCE / "README.md").read_text(encoding="utf-8")
    page.write_text(before, encoding="utf-8")
    results = [Result(row, what, "µs CPU", 100.0, 90.0, n / 100, (0.5, 0.75), 0.4)
               for n, (_, row, what) in enumerate(report.README_LINES, 101)]
    for _ in range(2):
        report.write_readme(page, report.text(results, [], []))
    head, figures, end = before.partition(report.README_HEAD)[0], report.readme(report.text(results, [], [])), before.partition(report.README_END)[2]
    assert page.read_text(encoding="utf-8") == head + figures + end and len(head) > 1000 and len(end) > 1000
    assert [figures.count("| %.2f (0.50 to 0.75) |" % result.ratio) for result in results] == [1] * len(results)


# The two fleets of docs/scaling.md: devices, brokers, connects a second, changes a second.
FLEETS = [(1e5, 1, 1e5 / 3600, 0), (1e8, 100, 1e8 / 86400, 1)]
UNITS = {"% of a core": 10, "cores": 1000, "a second": 1, "GB": 1e9}  # in ms a second, in commits, in bytes


def sizing(title):
    """The cells of a line of the page's tables, without the title."""
    page = (SOURCE / "docs/scaling.md").read_text(encoding="utf-8").split("## Sizing")[1]
    (line,) = re.findall(r"^\| %s \| (.*) \|$" % re.escape(title), page, re.M)
    return line.split(" | ")


def coefficients(title, until):
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", sizing(title)[0].partition(until)[0])]


def examples(title):
    found = [re.search(r"([\d.,]+) (%s)" % "|".join(UNITS), cell).groups() for cell in sizing(title)]
    return [float(number.replace(",", "")) * UNITS[unit] for number, unit in found]


def test_the_sizes_of_the_example_fleets_follow_from_the_formulas():
    connect, _, change, each, idle = coefficients("CPU of PostgreSQL, in ms a second", ", each")
    cpu = [connect * f + (change + each * b) * c + idle * b for _, b, f, c in FLEETS]
    batch, one, more, beat = coefficients("commits a second", " at most")
    commits = [f / batch + (one + more * b) * c + beat * b for _, b, f, c in FLEETS]
    disk = [coefficients("disk of PostgreSQL", " bytes")[0] * devices for devices, *_ in FLEETS]
    for title, expected in (("CPU of PostgreSQL", cpu), ("commits", commits), ("disk", disk)):
        assert examples(title) == pytest.approx(expected, rel=0.2), title
