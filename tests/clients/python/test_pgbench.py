"""pgbench: its tables, its three scripts in its three ways of asking; no transaction fails, and the balances add up."""

import os
import re
import subprocess

import pytest

PGBENCH = os.environ["PGBENCH"]
MODES = ["simple", "extended", "prepared"]
SCRIPTS = ["tpcb-like", "simple-update", "select-only"]
# Clients, and transactions of each. Two writers of one row: one tries again.
CLIENTS, TRANSACTIONS = 4, 25


def pgbench(*arguments, **options):
    done = subprocess.run([PGBENCH, *arguments], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def tables():
    """The tables at scale 1: a branch, ten tellers, 100,000 accounts."""
    return pgbench("-i", "-s", "1")


def counts(connection):
    tables = ["branches", "tellers", "accounts"]
    return [connection.execute(f"SELECT count(*) FROM pgbench_{table}").fetchone()[0] for table in tables]


def carried_out(*arguments):
    """Runs scripts; returns how many transactions there were. None may fail."""
    arguments = ["-n", "-c", str(CLIENTS), "-j", "2", "-t", str(TRANSACTIONS), "--max-tries=1000", *arguments]
    said = pgbench(*arguments)
    assert "number of failed transactions: 0 (0.000%)" in said, said
    return int(re.search(r"number of transactions actually processed: (\d+)/", said).group(1))


def test_tables_are_made_and_filled(connection, tables):
    assert "done in" in tables
    assert counts(connection) == [1, 10, 100_000]
    keys = "SELECT count(*) FROM information_schema.table_constraints WHERE table_name LIKE 'pgbench%'"
    keys += " AND constraint_type = 'PRIMARY KEY'"
    assert connection.execute(keys).fetchone() == (3,)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("script", SCRIPTS)
def test_no_transaction_fails(connection, tables, script, mode):
    before = connection.execute("SELECT count(*) FROM pgbench_history").fetchone()[0]
    assert carried_out("-b", script, "-M", mode) == CLIENTS * TRANSACTIONS
    written = 0 if script == "select-only" else CLIENTS * TRANSACTIONS
    assert connection.execute("SELECT count(*) FROM pgbench_history").fetchone()[0] == before + written


def test_balances_add_up(connection, tables):
    """Of every delta there is a trace in its account; simple-update leaves tellers and branches alone."""
    connection.execute("TRUNCATE pgbench_history")
    connection.execute("UPDATE pgbench_accounts SET abalance = 0 WHERE abalance <> 0")
    connection.execute("UPDATE pgbench_tellers SET tbalance = 0")
    connection.execute("UPDATE pgbench_branches SET bbalance = 0")
    carried_out("-b", "tpcb-like", "-M", "prepared")
    sums = ["sum(delta) FROM pgbench_history", "sum(abalance) FROM pgbench_accounts"]
    sums += ["sum(tbalance) FROM pgbench_tellers", "sum(bbalance) FROM pgbench_branches"]
    found = {connection.execute(f"SELECT {what}").fetchone()[0] for what in sums}
    assert len(found) == 1


@pytest.mark.parametrize("mode", MODES)
def test_a_script_in_pql(tables, tmp_path, mode):
    script = tmp_path / "pipeline.sql"
    script.write_text(
        "\\set aid random(1, 100000)\n"
        "QUERY pgbench_accounts WHERE aid = :aid SELECT abalance;\n"
        "BEGIN;\n"
        "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = :aid;\n"
        "QUERY pgbench_accounts WHERE aid = :aid SELECT abalance \\gset\n"
        "COMMIT;\n"
        "\\if :abalance = 0\nSELECT 1 / 0;\n\\endif\n"
    )
    assert carried_out("-f", str(script), "-M", mode) == CLIENTS * TRANSACTIONS


def test_statements_in_a_pipeline(tables, tmp_path):
    script = tmp_path / "pipeline.sql"
    script.write_text(
        "\\set aid random(1, 100000)\n\\startpipeline\n"
        "SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\nSELECT count(*) FROM pgbench_tellers;\n"
        "\\endpipeline\n"
    )
    assert carried_out("-f", str(script), "-M", "extended") == CLIENTS * TRANSACTIONS


def test_every_transaction_on_a_connection_of_its_own(tables):
    assert carried_out("-C", "-S") == CLIENTS * TRANSACTIONS


def test_progress_latencies_and_rates_are_reported(tables):
    said = pgbench("-n", "-S", "-c", "2", "-t", "50", "-r", "--rate=1000")
    assert "SELECT abalance FROM pgbench_accounts" in said


def test_rows_are_made_by_the_server(connection, tables):
    """Last, because the tables are made anew."""
    pgbench("-i", "-I", "dtGvp", "-s", "1")
    assert counts(connection) == [1, 10, 100_000]
    pgbench("-i", "-I", "d")
