"""What every suite in Python needs: connections, and names of tables that no other case has.

Where the server is stands in libpq's own environment variables, which `run` sets.
"""

import itertools
import os

import psycopg
import pytest

numbers = itertools.count()
TLS = os.environ["PGSSLMODE"] == "require"


@pytest.fixture
def name():
    """A name that no other case uses."""
    return f"t{next(numbers)}"


@pytest.fixture
def connection():
    """A connection whose statements are transactions of their own."""
    with psycopg.connect(autocommit=True) as connection:
        yield connection


@pytest.fixture
def table(connection, name):
    """A table of two columns, `id` and `name`, with three rows."""
    connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, name TEXT)")
    connection.execute(f"INSERT INTO {name} VALUES (1, 'one'), (2, 'two'), (3, NULL)")
    yield name
    connection.execute(f"DROP TABLE IF EXISTS {name}")
