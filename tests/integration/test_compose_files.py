# SPDX-License-Identifier: ISC
"""The files of the local stack agree: every variable is explained, no password has a default."""

import pathlib
import re

SOURCE = pathlib.Path(__file__).resolve().parents[2]
COMPOSE = (SOURCE / "docker-compose.yml").read_text(encoding="utf-8")
EXAMPLE = (SOURCE / ".env.example").read_text(encoding="utf-8")


def test_every_variable_of_the_stack_is_explained_in_the_example_and_no_other():
    used = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE))
    assert used and used == set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.M))


def test_the_examples_defaults_are_the_stacks():
    defaults = {name: value for name, value in re.findall(r"\$\{([A-Z_]+):-([^}]*)\}", COMPOSE) if value}
    shown = dict(re.findall(r"^#([A-Z_]+)=(.*)$", EXAMPLE, re.M))
    assert [name for name, value in defaults.items() if shown[name] not in (value, "latest")] == []


def test_no_variable_is_a_password():
    assert not [line for line in (COMPOSE + EXAMPLE).splitlines() if re.search(r"PASSWORD(?!_FILE)\w*\s*[:=]", line)]


def test_every_services_log_is_rotated():
    services = re.findall(r"^  ([a-z]+):\n((?:    .*\n|\n)*)", COMPOSE.split("\nservices:\n")[1].split("\nvolumes:\n")[0], re.M)
    assert len(services) > 6
    assert not [name for name, text in services if "<<: *stack" not in text and "logging: *logging" not in text]
