#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Finds banned words and phrases, in texts, comments and names alike: reads file names from standard input.

    words.py BANNED-WORDS.txt <FILES

An identifier counts as its parts (`snake_case`, `camelCase`); so does a file's name.  A phrase is found across lines.
"""

import re
import sys

WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
ESCAPE = re.compile(r"\\[nrt]")


def banned(path):
    """{first word: [(words, replacement)]} of the list's lines 'word | word | a phrase -> replacement'."""
    entries = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("#") or not line.strip():
                continue
            alternatives, replacement = line.split("->")
            for alternative in alternatives.split("|"):
                words = tuple(alternative.lower().split())
                entries.setdefault(words[0], []).append((words, replacement.strip()))
    return entries


def words_of(text):
    """[(word, line)]: lower case, without punctuation."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        found += [(match.group().lower(), number) for match in WORD.finditer(ESCAPE.sub("  ", line))]
    return found


def breaches(words, entries):
    for at, (word, line) in enumerate(words):
        for phrase, replacement in entries.get(word, ()):
            if tuple(following for following, _ in words[at : at + len(phrase)]) == phrase:
                yield line, " ".join(phrase), replacement


def main(list_path):
    entries = banned(list_path)
    for name in sys.stdin.read().split("\n"):
        if not name:
            continue
        with open(name, encoding="utf-8", errors="replace") as file:
            text = file.read()
        for _, phrase, replacement in breaches(words_of(name), entries):
            print("%s: '%s' in the file's name; say: %s" % (name, phrase, replacement))
        for line, phrase, replacement in breaches(words_of(text), entries):
            print("%s:%d: '%s'; say: %s" % (name, line, phrase, replacement))


main(sys.argv[1])
