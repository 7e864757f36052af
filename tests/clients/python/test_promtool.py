"""promtool: /metrics is what Prometheus can read, and what its linter has nothing to say against."""

import os
import re
import ssl
import subprocess
import urllib.error
import urllib.request
from base64 import b64encode

import pytest

HTTP = os.environ["EVENKEEL_HTTP"]


def scraped(user="admin", password=os.environ["PGPASSWORD"]):
    request = urllib.request.Request(f"{HTTP}/metrics")
    login = b64encode(f"{user}:{password}".encode()).decode()
    request.add_header("Authorization", f"Basic {login}")
    # The certificate is one that nobody vouches for.
    trusting = ssl._create_unverified_context()
    with urllib.request.urlopen(request, timeout=30, context=trusting) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def check(text):
    command = [os.environ["PROMTOOL"], "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def value(text, metric):
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(rf"{metric}[ {{]", line))


def test_the_linter_finds_something_where_there_is_something():
    assert check("# TYPE wrong_total gauge\nwrong_total 1\n")[0] != 0


def test_a_server_that_has_done_nothing():
    kind, text = scraped()
    assert kind.startswith("text/plain")
    assert check(text) == (0, "")


def test_a_server_that_has_done_everything(connection, table):
    for statement in (
        f"SELECT * FROM {table}",
        f"UPDATE {table} SET name = 'x'",
        f"DELETE FROM {table} WHERE id = 1",
        "MOVE SLOTS 0 TO 9 FROM SHARD 1 TO SHARD 2",
        "WAIT FOR JOB ALL TIMEOUT '60s'",
    ):
        connection.execute(statement)
    with pytest.raises(Exception, match="zero"):
        connection.execute("SELECT 1 / 0")
    _, text = scraped()
    assert check(text) == (0, "")


def test_counters_count(connection):
    _, before = scraped()
    for _ in range(20):
        connection.execute("SELECT 1")
    _, after = scraped()
    counted = "evenkeel_statement_duration_seconds_count"
    assert value(after, counted) >= value(before, counted) + 20


def test_a_plain_user_may_scrape(connection, name):
    connection.execute(f"CREATE USER {name} PASSWORD 'a long secret'")
    assert check(scraped(name, "a long secret")[1]) == (0, "")
    connection.execute(f"DROP USER {name}")


def test_nobody_else_may():
    with pytest.raises(urllib.error.HTTPError, match="401"):
        scraped(password="wrong")
