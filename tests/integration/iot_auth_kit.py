# SPDX-License-Identifier: ISC
"""Running the command iot-auth against a registry."""

import json
import os
import pathlib
import subprocess

import pg

BUILD = pathlib.Path(os.environ.get("IOT_AUTH_BUILD", pg.ROOT / "build" / "release"))
PROGRAM = os.environ.get("IOT_AUTH", str(BUILD / "cli" / "iot-auth"))


class Done:
    """What one call of the command left behind."""

    def __init__(self, completed):
        self.status, self.out, self.err = completed.returncode, completed.stdout, completed.stderr

    @property
    def rows(self):
        """The objects of --json, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    def __repr__(self):
        return f"exit {self.status}\n{self.out}\n{self.err}"


class Command:
    """iot-auth in the environment of one database and one role."""

    def __init__(self, database, folder, user=pg.ADMIN, program=PROGRAM):
        self.program, self.folder = program, folder
        self.environment = {**database.environment(user), "HOME": str(folder), "TZ": "Europe/Athens"}

    def __call__(self, *words, stdin="", **environment):
        changed = {key: value for key, value in {**self.environment, **environment}.items() if value is not None}
        return Done(subprocess.run([self.program, *map(str, words)], env=changed, cwd=self.folder, input=stdin,
                                   capture_output=True, text=True, timeout=120, check=False))

    def done(self, *words, **more):
        """The same, which must succeed."""
        result = self(*words, **more)
        assert result.status == 0, result
        return result

    def json(self, *words, **more):
        return self.done(*words, "--json", **more).rows

    def file(self, name, text):
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path
