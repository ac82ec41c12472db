# SPDX-License-Identifier: ISC
"""Shared by the SQL tests: a registry with a CA, certificates, and ways to expect a refusal."""

import contextlib

import psycopg2
import pytest

import pki


class Cursor:
    """One connection, autocommit: `all` and `one` run a statement, `refused` expects it to fail and returns the error.
    """

    def __init__(self, connection):
        self.connection = connection

    def all(self, statement, *parameters):
        with self.connection.cursor() as cursor:
            cursor.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def one(self, statement, *parameters):
        return self.all(statement, *parameters)[0][0]

    def refused(self, statement, *parameters):
        """The error, which must be one line, and raised by the schema, not by PostgreSQL itself."""
        with pytest.raises(psycopg2.Error) as caught:
            self.all(statement, *parameters)
        message = caught.value.diag.message_primary
        assert "\n" not in message
        return message

    def call(self, function, *arguments, **named):
        places = ["%s"] * len(arguments) + [f"{name} => %s" for name in named]
        rows = self.all(f"SELECT iot_auth.{function}({', '.join(places)})", *arguments, *named.values())
        return rows[0][0]

    def call_refused(self, function, *arguments, **named):
        places = ["%s"] * len(arguments) + [f"{name} => %s" for name in named]
        return self.refused(f"SELECT iot_auth.{function}({', '.join(places)})", *arguments, *named.values())


@contextlib.contextmanager
def cursor(database, user):
    with contextlib.closing(database.connect(user)) as connection:
        yield Cursor(connection)


class Trial(Cursor):
    """The same within one transaction that is never committed: an error undoes its own statement only."""

    def all(self, statement, *parameters):
        super().all("SAVEPOINT trial")
        try:
            rows = super().all(statement, *parameters)
        except psycopg2.Error:
            super().all("ROLLBACK TO SAVEPOINT trial")
            raise
        super().all("RELEASE SAVEPOINT trial")
        return rows


@contextlib.contextmanager
def trial(database, user):
    with contextlib.closing(database.connect(user)) as connection:
        connection.autocommit = False
        yield Trial(connection)
        connection.rollback()


def ca_pem():
    """A new certificate; SQL cannot check the signature."""
    return pki.root().pem


def register(cursor_, fingerprint, device_id, ca_id, node="n1", address="192.0.2.1", **over):
    """broker_register as the broker calls it.  Returns the row as a dict."""
    values = {"serial": "0a", "subject": "CN=x", "not_before": "2020-01-01 UTC", "not_after": "2040-01-01 UTC", **over}
    columns = ("outcome detail fingerprint device_id device_status certificate_status certificate_ca_id device_ca_id"
               " tenant not_after attrs roles").split()
    rows = cursor_.all("SELECT * FROM iot_auth.broker_register(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                       fingerprint, device_id, ca_id, values["serial"], values["subject"], values["not_before"],
                       values["not_after"], node, address)
    assert len(rows) == 1
    return dict(zip(columns, rows[0]))
