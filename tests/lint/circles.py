#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""What #include lines and symbol tables show: circles, forbidden paths, symbols that nothing uses.

    circles.py headers FOLDER…                  headers that include themselves by others
    circles.py reach HEADER FOLDER… -- FOLDER…  files of the first folders that include HEADER, by a path through any
    circles.py objects BUILD FOLDER…            objects of BUILD (nm) that use one another's symbols
    circles.py layers BUILD FOLDER=RANK…        objects that use a symbol of a folder of higher or equal rank, or of cli
    circles.py uses BUILD PATTERN FOLDER…       objects that use a symbol of that pattern from outside
    circles.py dead BUILD FOLDER…               symbols that a header declares and no other object uses
"""

import collections
import pathlib
import re
import subprocess
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def circles(uses):
    """The strongly connected parts of a graph {node: {node it uses: label}} that have more than one node (Tarjan)."""
    index, low, stack, found = {}, {}, [], []

    def visit(node):
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in uses.get(node, {}):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            part = set()
            while node not in part:
                part.add(stack.pop())
            if len(part) > 1 or node in uses.get(node, {}):
                found.append(part)

    sys.setrecursionlimit(10000)
    for node in sorted(uses):
        if node not in index:
            visit(node)
    return found


def report(uses, kind):
    """One line for each arrow of a circle, so that it is seen which of them to turn round."""
    for part in circles(uses):
        for node in sorted(part):
            for other in sorted(part & uses.get(node, {}).keys()):
                print("%s:1: in a circle of %d %s: uses %s (%s)" % (node, len(part), kind, other, uses[node][other]))


def include_graph(folders, pattern):
    uses = collections.defaultdict(dict)
    for folder in folders:
        for header in pathlib.Path(folder).rglob(pattern):
            for included in INCLUDE.findall(header.read_text(encoding="utf-8")):
                uses[str(header)][included] = "#include"
    return uses


def objects_of(build, folder):
    """{source: object}.  An object whose source has been removed is a leftover of an older build."""
    for path in sorted((pathlib.Path(build) / folder).glob("CMakeFiles/*.dir/*.c.o")):
        source = "%s/%s" % (folder, path.name[: -len(".o")])
        if pathlib.Path(source).exists():
            yield source, path


def symbols(path, which):
    listing = subprocess.run(["nm", "-g", which, str(path)], capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in listing.splitlines() if line.strip()}


def object_graph(build, folders):
    objects = {source: path for folder in folders for source, path in objects_of(build, folder)}
    owner = {symbol: source for source, path in objects.items() for symbol in symbols(path, "--defined-only")}
    uses = collections.defaultdict(dict)
    for source, path in objects.items():
        for symbol in sorted(symbols(path, "--undefined-only")):
            if symbol in owner:
                uses[source].setdefault(owner[symbol], symbol)
    return uses


def report_layers(build, ranks):
    uses = object_graph(build, ranks)
    for source in sorted(uses):
        folder = source.split("/")[0]
        for other, symbol in sorted(uses[source].items()):
            above = other.split("/")[0]
            if above != folder and (int(ranks[above]) >= int(ranks[folder]) or above == "cli"):
                print("%s:1: %s/ may not use %s of %s" % (source, folder, symbol, other))


def report_uses(build, pattern, folders):
    """Where glibc's fortified variant of a function is called, its name has two underscores before it and _chk behind."""
    name = re.compile("(?:__)?(%s)(?:_chk)?(?:@.*)?" % pattern)
    for folder in folders:
        for source, path in objects_of(build, folder):
            for symbol in sorted(symbols(path, "--undefined-only")):
                if name.fullmatch(symbol):
                    print("%s:1: uses %s" % (source, symbol))


FOR_THE_TESTS = re.compile(r"^/\* ---- for the tests\b", re.MULTILINE)


def dead_symbols(build, folders):
    """(symbol, source) of each external symbol that only its own object uses."""
    objects = {source: path for folder in folders for source, path in objects_of(build, folder)}
    used = {symbol for path in objects.values() for symbol in symbols(path, "--undefined-only")}
    for source, path in sorted(objects.items()):
        yield from ((symbol, source) for symbol in sorted(symbols(path, "--defined-only") - used))


def report_dead(build, folders):
    """What a header declares under "for the tests" may be dead; what no header of ours declares is for a loader."""
    texts = {str(header): header.read_text(encoding="utf-8") for folder in folders for header in pathlib.Path(folder).rglob("*.h")}
    for symbol, source in dead_symbols(build, folders):
        for header, text in texts.items():
            declared = re.search(r"\b%s\b[(\[;]" % re.escape(symbol), text)
            seam = FOR_THE_TESTS.search(text)
            if declared and not (seam and seam.start() < declared.start()):
                line = text.count("\n", 0, declared.start()) + 1
                print('%s:%d: no other object uses %s of %s, and it is not "for the tests"' % (header, line, symbol, source))


def path_to(uses, start, goal):
    """The shortest path from one node to another, or None (breadth first)."""
    came_from, queue = {start: None}, collections.deque([start])
    while queue:
        node = queue.popleft()
        if node == goal:
            path = []
            while node:
                path.insert(0, node)
                node = came_from[node]
            return path
        for other in uses.get(node, {}):
            if other not in came_from:
                came_from[other] = node
                queue.append(other)
    return None


def report_reach(uses, goal, folders):
    for node in sorted(uses):
        path = path_to(uses, node, goal) if node.split("/")[0] in folders else None
        if path:
            print("%s:1: may not include %s: %s" % (node, goal, " > ".join(path)))


def main(arguments):
    if arguments[0] == "headers":
        report(include_graph(arguments[1:], "*.h"), "headers")
    elif arguments[0] == "reach":
        end = arguments.index("--")
        report_reach(include_graph(arguments[end + 1 :], "*.[ch]"), arguments[1], arguments[2:end])
    elif arguments[0] == "layers":
        report_layers(arguments[1], dict(argument.split("=") for argument in arguments[2:]))
    elif arguments[0] == "uses":
        report_uses(arguments[1], arguments[2], arguments[3:])
    elif arguments[0] == "dead":
        report_dead(arguments[1], arguments[2:])
    else:
        report(object_graph(arguments[1], arguments[2:]), "objects")


main(sys.argv[1:])
