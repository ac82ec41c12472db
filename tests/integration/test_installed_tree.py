# SPDX-License-Identifier: ISC
"""What `cmake --install` installs, which is also what the Debian package holds: nothing that a user can start is without its pages."""

import re
import subprocess

import pytest

from iot_auth_kit import BUILD

PROGRAMS = ["iot-auth", "iot-auth-check", "iot-auth-psk"]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prefix")
    subprocess.run(["cmake", "--install", BUILD, "--prefix", folder], check=True, capture_output=True)
    return folder


def manual_page(prefix, name):
    """The page as text, without hyphens of the markup."""
    return (prefix / "share/man" / ("man" + name[-1]) / name).read_text(encoding="utf-8").replace("\\-", "-")


def test_these_programs_are_installed_and_no_others(prefix):
    assert sorted(path.name for path in (prefix / "bin").iterdir()) == PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_has_a_manual_page_that_names_what_its_help_names(prefix, program):
    page = manual_page(prefix, program + ".1")
    usage = subprocess.run([prefix / "bin" / program, "--help"], check=True, capture_output=True, text=True).stdout
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", usage)) | set(re.findall(r"^  ([a-z][a-z-]*) {2,}", usage, re.M))
    assert len(named) > 2 and [word for word in sorted(named) if not re.search(r"(?<![\w-])%s(?![\w-])" % re.escape(word), page)] == []


@pytest.mark.parametrize("page", [program + ".1" for program in PROGRAMS] + ["mosquitto_iot_auth.5"])
def test_a_manual_page_has_no_warnings_and_names_itself(prefix, page):
    """Lintian asks for the same, but only where a package is built."""
    source = (prefix / "share/man" / ("man" + page[-1]) / page).read_text(encoding="utf-8")
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-Kutf8", "-z"], input=source, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^\.SH NAME\n%s \\?- " % page[:-2], manual_page(prefix, page), re.M)


@pytest.mark.parametrize("program", PROGRAMS)
def test_bash_finds_the_completion_of_every_program_by_its_name(prefix, program):
    script = prefix / "share/bash-completion/completions" / program
    done = subprocess.run(["bash", "-euc", '. "$1"; complete -p "$2"', "bash", script, program], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.split()[-1] == program, done.stderr


def test_zsh_finds_the_completion_of_every_program(prefix):
    folder = prefix / "share/zsh/vendor-completions"
    first = [path.read_text(encoding="utf-8").splitlines()[0].split() for path in folder.iterdir()]
    assert all(words[0] == "#compdef" for words in first)
    assert sorted(name for words in first for name in words[1:]) == PROGRAMS


@pytest.mark.parametrize("typed, offered", [
    ("iot-auth-psk ", {"generate", "import", "rotate", "check", "--key-file", "--identity", "--expires-at"}),
    ("iot-auth-psk ro", {"rotate"}), ("iot-auth-psk --key-file k --id", {"--identity"}), ("iot-auth-psk --identity ", set())])
def test_bash_completes_the_words_of_iot_auth_psk(prefix, typed, offered):
    script = '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _iot_auth_psk; printf "%s\\n" "${COMPREPLY[@]}"'
    completion = prefix / "share/bash-completion/completions/iot-auth-psk"
    done = subprocess.run(["bash", "-c", script, "bash", completion, *typed.split(" ")], capture_output=True, text=True, check=False)
    assert done.stderr == "" and offered <= set(done.stdout.split()) and bool(offered) == bool(done.stdout.split())


def test_the_completions_of_iot_auth_psk_offer_every_word_of_its_help(prefix):
    usage = subprocess.run([prefix / "bin/iot-auth-psk", "--help"], check=True, capture_output=True, text=True).stdout
    words = set(re.findall(r"^  (--[a-z-]+|[a-z]+) {2,}| (--[a-z-]+) [A-Z]", usage, re.M))
    words = {word for pair in words for word in pair if word}
    for name in ("bash-completion/completions/iot-auth-psk", "zsh/vendor-completions/_iot-auth-psk"):
        text = (prefix / "share" / name).read_text(encoding="utf-8")
        assert len(words) == 7 and [word for word in sorted(words) if not re.search(r"(?<![\w-])%s(?![\w-])" % word, text)] == []
