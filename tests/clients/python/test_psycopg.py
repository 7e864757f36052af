"""psycopg 3: types in text and in binary, errors, transactions, pipelines, COPY, cancelling, PQL."""

import asyncio
import datetime as dt
import json
import math
import os
import threading
import uuid
from decimal import Decimal

import psycopg
import pytest
from conftest import TLS
from psycopg import errors, sql
from psycopg.rows import dict_row, namedtuple_row, scalar_row
from psycopg.types.json import Json, Jsonb

UTC = dt.timezone.utc

# Types of PQL, and values of them that have to come back as they were.
TYPES = [
    ("boolean", [True, False]),
    ("smallint", [0, -32768, 32767]),
    ("integer", [0, -(2**31), 2**31 - 1]),
    ("bigint", [0, -(2**63), 2**63 - 1]),
    ("real", [0.0, 1.5, -(2.0**24), math.inf, -math.inf]),
    ("double precision", [0.1, -1e300, 5e-324, math.inf]),
    ("decimal(12,3)", [Decimal("0.000"), Decimal("-123456789.125"), Decimal("0.001")]),
    ("decimal(38,0)", [Decimal(10**38 - 1), Decimal(-(10**38) + 1)]),
    ("text", ["", "plain", "ä € 🚢 'quoted' \"twice\" \\ back", "tab\tand\nline", "x" * 100_000]),
    ("varchar(5)", ["", "abcde", "🚢🚢🚢🚢🚢"]),
    ("bytea", [b"", b"\x00\x01\xff\\'", bytes(range(256))]),
    ("date", [dt.date(1, 1, 1), dt.date(1969, 12, 31), dt.date(2024, 2, 29), dt.date(9999, 12, 31)]),
    ("time", [dt.time(0, 0), dt.time(23, 59, 59, 999999)]),
    ("timestamp", [dt.datetime(1, 1, 1), dt.datetime(2013, 1, 1, 5, 15, 0, 123456), dt.datetime(9999, 12, 31, 23)]),
    ("timestamptz", [dt.datetime(1900, 1, 1, tzinfo=UTC), dt.datetime(2026, 7, 1, 12, 30, 0, 1, tzinfo=UTC)]),
    ("interval", [dt.timedelta(0), dt.timedelta(days=-3, microseconds=7), dt.timedelta(days=400, hours=5)]),
    ("uuid", [uuid.UUID(int=0), uuid.UUID("12345678-9abc-def0-1234-56789abcdef0")]),
    ("integer[]", [[], [1, None, -3]]),
    ("bigint[]", [[2**40, 1]]),
    ("text[]", [["a", "", None, 'q"uo,te{d}', "NULL"]]),
    ("boolean[]", [[True, None, False]]),
    ("double precision[]", [[0.5, -1e100]]),
    ("decimal(6,2)[]", [[Decimal("1.25"), None]]),
    ("date[]", [[dt.date(2026, 1, 2), None]]),
    ("timestamptz[]", [[dt.datetime(2026, 1, 2, 3, tzinfo=UTC)]]),
    ("uuid[]", [[uuid.UUID(int=7)]]),
    ("bytea[]", [[b"\x00\xff", b""]]),
]


def stored(connection, name, column, placeholder, values, binary):
    """What comes back of values that are stored with placeholders of a form, and read in a form."""
    connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, v {column})")
    for at, value in enumerate([*values, None]):
        connection.execute(f"INSERT INTO {name} VALUES (%s, {placeholder})", (at, value))
    with connection.cursor(binary=binary, row_factory=scalar_row) as cursor:
        return cursor.execute(f"SELECT v FROM {name} ORDER BY id").fetchall()


@pytest.mark.parametrize("form", ["text", "binary"])
@pytest.mark.parametrize(("column", "values"), TYPES, ids=[column for column, _ in TYPES])
def test_values_come_back(connection, name, column, values, form):
    placeholder = {"text": "%t", "binary": "%b"}[form]
    assert stored(connection, name, column, placeholder, values, form == "binary") == [*values, None]


@pytest.mark.parametrize("column", ["json", "jsonb"])
@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_documents_come_back(connection, name, column, binary):
    values = [{"a": [1, 2.5, None, "ä"], "b": {"c": True}}, [], "text", 7]
    wrapped = [(Jsonb if column == "jsonb" else Json)(value) for value in values]
    assert stored(connection, name, column, "%b" if binary else "%t", wrapped, binary) == [*values, None]


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_not_a_number(connection, binary):
    row = connection.cursor(binary=binary).execute("SELECT 'NaN'::float8, 'NaN'::real").fetchone()
    assert all(math.isnan(value) for value in row)


def test_values_are_what_the_server_takes_them_for(connection, name):
    """What was sent in one form is found when it is compared in the other."""
    connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, at TIMESTAMPTZ, price DECIMAL(10,2), key UUID)")
    row = (1, dt.datetime(2026, 3, 1, 8, tzinfo=dt.timezone(dt.timedelta(hours=2))), Decimal("9.90"), uuid.uuid4())
    connection.execute(f"INSERT INTO {name} VALUES (%b, %b, %b, %b)", row)
    found = connection.execute(f"SELECT id FROM {name} WHERE at = %t AND price = %t AND key = %t", row[1:]).fetchall()
    assert found == [(1,)]
    text = connection.execute(f"SELECT at::text, price::text FROM {name}").fetchone()
    assert text == ("2026-03-01 06:00:00+00", "9.90")


# ---- Connections.


def test_the_server_says_what_it_is(connection):
    assert connection.info.server_version == 150000
    assert connection.info.parameter_status("server_encoding") == "UTF8"
    assert connection.info.parameter_status("TimeZone") == "UTC"
    assert connection.info.parameter_status("integer_datetimes") == "on"
    assert connection.info.encoding == "utf-8"


def test_encryption_is_what_was_asked_for(connection):
    assert connection.pgconn.ssl_in_use == TLS


def test_an_unencrypted_connection_is_refused_where_only_encrypted_ones_are_taken():
    if not TLS:
        with pytest.raises(psycopg.OperationalError, match="SSL"):
            psycopg.connect(sslmode="require")
        return
    with pytest.raises(psycopg.OperationalError, match="only encrypted connections"):
        psycopg.connect(sslmode="disable")


@pytest.mark.parametrize("who", [{"password": "wrong"}, {"user": "nobody"}], ids=["password", "user"])
def test_a_wrong_password_and_an_unknown_user_are_refused_alike(who):
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(**who)


def test_a_user_is_made_and_logs_in(connection, name):
    password = connection.pgconn.encrypt_password(b"a long secret", name.encode(), b"scram-sha-256").decode()
    connection.execute(f"CREATE USER {name} PASSWORD '{password}'")
    connection.execute(f"CREATE TABLE of_{name} (id INTEGER PRIMARY KEY)")
    with psycopg.connect(user=name, password="a long secret", autocommit=True) as other:
        assert other.execute("SELECT current_user").fetchone() == (name,)
        with pytest.raises(errors.InsufficientPrivilege):
            other.execute(f"SELECT * FROM of_{name}")
        connection.execute(f"GRANT SELECT ON of_{name} TO {name}")
        assert other.execute(f"SELECT * FROM of_{name}").fetchall() == []
    connection.execute(f"DROP USER {name}")


def test_settings_come_with_the_connection():
    with psycopg.connect(options="-c statement_timeout=50ms", application_name="proof") as connection:
        assert connection.execute("SHOW application_name").fetchone() == ("proof",)
        with pytest.raises(errors.QueryCanceled):
            connection.execute("SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b")


# ---- Answers.


def test_columns_are_described(connection, table):
    cursor = connection.execute(f"SELECT id, name, id::numeric(9,2) AS price, now() AS at FROM {table}")
    assert [(column.name, column.type_code) for column in cursor.description] == [
        ("id", 23),
        ("name", 25),
        ("price", 1700),
        ("at", 1184),
    ]
    assert (cursor.description[2].precision, cursor.description[2].scale) == (9, 2)


def test_names_of_columns_are_postgresqls(connection):
    cursor = connection.execute("SELECT count(*), sum(1), 1 + 1, upper('a'), 'x' AS \"Named\" FROM (SELECT 1) AS one")
    assert [column.name for column in cursor.description] == ["count", "sum", "?column?", "upper", "Named"]


def test_rows_are_counted_and_tags_are_postgresqls(connection, table):
    def done(statement):
        cursor = connection.execute(statement)
        return cursor.rowcount, cursor.statusmessage

    assert done(f"SELECT * FROM {table}") == (3, "SELECT 3")
    assert done(f"INSERT INTO {table} VALUES (4, 'four'), (5, NULL)") == (2, "INSERT 0 2")
    assert done(f"UPDATE {table} SET name = 'x' WHERE id > 3") == (2, "UPDATE 2")
    assert done(f"DELETE FROM {table} WHERE id = 99") == (0, "DELETE 0")
    assert done(f"DROP TABLE {table}") == (-1, "DROP TABLE")


def test_rows_are_fetched_one_by_one_and_in_parts(connection, table):
    cursor = connection.execute(f"SELECT id FROM {table} ORDER BY id")
    assert cursor.fetchone() == (1,)
    assert cursor.fetchmany(5) == [(2,), (3,)]
    assert cursor.fetchone() is None
    cursor.scroll(0, "absolute")
    assert [row for row in cursor] == [(1,), (2,), (3,)]


def test_rows_are_shaped(connection, table):
    query = f"SELECT id, name FROM {table} WHERE id = 1"
    assert connection.cursor(row_factory=dict_row).execute(query).fetchone() == {"id": 1, "name": "one"}
    assert connection.cursor(row_factory=namedtuple_row).execute(query).fetchone().name == "one"


def test_many_rows_are_streamed(connection):
    rows = connection.cursor().stream("SELECT v FROM generate_series(1, 50000) AS s(v)")
    assert sum(v for (v,) in rows) == 50_000 * 50_001 // 2


def test_several_statements_have_several_answers(connection):
    cursor = psycopg.ClientCursor(connection)
    cursor.execute("SELECT 1; SELECT 'two', 2")
    assert cursor.fetchall() == [(1,)]
    assert cursor.nextset()
    assert cursor.fetchall() == [("two", 2)]
    assert cursor.nextset() is None


def test_returning_and_conflicts(connection, table):
    insert = f"INSERT INTO {table} VALUES (%s, %s)"
    assert connection.execute(insert + " RETURNING id, upper(name)", (7, "new")).fetchone() == (7, "NEW")
    update = insert + " ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING name"
    assert connection.execute(update, (7, "newer")).fetchone() == ("newer",)
    assert connection.execute(insert + " ON CONFLICT DO NOTHING", (7, "newest")).rowcount == 0
    assert connection.execute(f"UPSERT INTO {table} VALUES (%s, %s)", (7, "last")).rowcount == 1
    assert connection.execute(f"SELECT name FROM {table} WHERE id = 7").fetchone() == ("last",)


def test_many_parameters_of_one_statement(connection, table):
    cursor = connection.cursor()
    cursor.executemany(f"INSERT INTO {table} VALUES (%s, %s)", [(id, f"n{id}") for id in range(100, 600)])
    assert cursor.rowcount == 500
    cursor.executemany(f"DELETE FROM {table} WHERE id = %s RETURNING name", [(100,), (101,)], returning=True)
    assert cursor.fetchone() == ("n100",)
    assert cursor.nextset()
    assert cursor.fetchone() == ("n101",)


def test_lists_as_parameters(connection, table):
    found = connection.execute(f"SELECT id FROM {table} WHERE id = ANY(%s) ORDER BY id", ([1, 3, 9],)).fetchall()
    assert found == [(1,), (3,)]
    assert connection.execute(f"SELECT id FROM {table} WHERE name = ANY(%s)", (["two"],)).fetchall() == [(2,)]
    left = connection.execute(f"SELECT count(*) FROM {table} WHERE NOT id = ANY(%s)", ([1],)).fetchone()
    assert left == (2,)


def test_patterns_and_nulls_as_parameters(connection, table):
    find = f"SELECT id FROM {table} WHERE name LIKE %s"
    assert connection.execute(find, ("%w%",)).fetchall() == [(2,)]
    assert connection.execute(f"SELECT id FROM {table} WHERE name LIKE '%%w%%'").fetchall() == [(2,)]
    assert connection.execute(find, (None,)).fetchall() == []
    assert connection.execute(f"SELECT id FROM {table} WHERE name IS NOT DISTINCT FROM %s", (None,)).fetchall() == [(3,)]


def test_numbers_of_rows_as_parameters(connection, table):
    page = connection.execute(f"SELECT id FROM {table} ORDER BY id LIMIT %s OFFSET %s", (1, 1)).fetchall()
    assert page == [(2,)]


def test_names_are_composed(connection, name):
    odd = sql.Identifier(f"Odd {name} \"quoted\"")
    connection.execute(sql.SQL("CREATE TABLE {} (id INTEGER PRIMARY KEY, {} TEXT)").format(odd, sql.Identifier("Aä b")))
    connection.execute(sql.SQL("INSERT INTO {} VALUES (1, {})").format(odd, sql.Literal("it's")))
    cursor = connection.execute(sql.SQL("SELECT * FROM {}").format(odd))
    assert cursor.fetchall() == [(1, "it's")]
    assert cursor.description[1].name == "Aä b"
    connection.execute(sql.SQL("DROP TABLE {}").format(odd))


# ---- Errors.

ERRORS = [
    ("42601", "SELEC 1"),
    ("42P01", "SELECT * FROM nowhere"),
    ("42703", "SELECT nmae FROM {t}"),
    ("42883", "SELECT no_such_function(1)"),
    ("42P07", "CREATE TABLE {t} (id INTEGER PRIMARY KEY)"),
    ("22012", "SELECT 1 / 0"),
    ("22003", "SELECT 300000000000::integer"),
    ("22P02", "SELECT 'x'::integer"),
    ("22007", "SELECT '2026-13-01'::date"),
    ("23505", "INSERT INTO {t} VALUES (1, 'again')"),
    ("23502", "INSERT INTO {t} VALUES (NULL, 'no key')"),
    ("23514", "INSERT INTO {c} VALUES (-1, 'abc')"),
    ("22001", "INSERT INTO {c} VALUES (1, 'abcd')"),
    ("42803", "SELECT id, count(*) FROM {t} GROUP BY name"),
    ("42704", "DROP USER no_such_user"),
    ("0A000", "SELECT * FROM {t} TABLESAMPLE BERNOULLI (10)"),
    ("22023", "ALTER SYSTEM SET gc_retention = 'soon'"),
    ("25P01", "SAVEPOINT s"),
]


@pytest.mark.parametrize(("state", "statement"), ERRORS, ids=[statement for _, statement in ERRORS])
def test_errors_have_their_state(connection, table, state, statement):
    connection.execute("CREATE TABLE IF NOT EXISTS checked (n INTEGER PRIMARY KEY CHECK (n > 0), s VARCHAR(3))")
    with pytest.raises(psycopg.Error) as raised:
        connection.execute(statement.format(t=table, c="checked"))
    assert raised.value.sqlstate == state
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_errors_say_where_and_what_to_do(connection, table):
    with pytest.raises(errors.UndefinedColumn) as raised:
        connection.execute(f"SELECT 'ä', nmae FROM {table}")
    diagnosis = raised.value.diag
    assert diagnosis.severity == "ERROR"
    assert diagnosis.statement_position == "13"
    assert "name" in diagnosis.message_hint
    with pytest.raises(errors.UniqueViolation) as raised:
        connection.execute(f"INSERT INTO {table} VALUES (1, 'again')")
    assert "1" in raised.value.diag.message_detail


def test_a_zero_byte_is_no_text(connection):
    with pytest.raises(psycopg.DataError):
        connection.execute("SELECT %s", ("a\0b",))


# ---- Transactions.


def test_a_transaction_is_committed_or_rolled_back(connection, table):
    with psycopg.connect() as other:
        other.execute(f"INSERT INTO {table} VALUES (10, 'kept')")
        assert other.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (3,)
        other.commit()
        other.execute(f"INSERT INTO {table} VALUES (11, 'lost')")
        other.rollback()
    assert connection.execute(f"SELECT id FROM {table} WHERE id > 9").fetchall() == [(10,)]


def test_a_failed_transaction_takes_nothing_but_rollback(table):
    with psycopg.connect() as connection:
        with pytest.raises(errors.DivisionByZero):
            connection.execute("SELECT 1 / 0")
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
        with pytest.raises(errors.InFailedSqlTransaction):
            connection.execute("SELECT 1")
        connection.rollback()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_savepoints(connection, table):
    with connection.transaction():
        connection.execute(f"INSERT INTO {table} VALUES (10, 'outer')")
        with pytest.raises(errors.UniqueViolation), connection.transaction():
            connection.execute(f"INSERT INTO {table} VALUES (11, 'inner')")
            connection.execute(f"INSERT INTO {table} VALUES (10, 'again')")
        with connection.transaction(force_rollback=True):
            connection.execute(f"INSERT INTO {table} VALUES (12, 'undone')")
        with connection.transaction("named"):
            connection.execute(f"INSERT INTO {table} VALUES (13, 'inner')")
    assert connection.execute(f"SELECT id FROM {table} WHERE id > 9 ORDER BY id").fetchall() == [(10,), (13,)]


def test_a_read_only_transaction_writes_nothing(table):
    with psycopg.connect() as connection:
        connection.read_only = True
        connection.execute(f"SELECT * FROM {table}")
        with pytest.raises(errors.ReadOnlySqlTransaction):
            connection.execute(f"DELETE FROM {table}")


def test_the_isolation_there_is_can_be_asked_for(table):
    with psycopg.connect() as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (3,)


def test_of_two_writers_of_a_row_one_is_told_to_try_again(table):
    with psycopg.connect() as one, psycopg.connect() as two:
        for connection in (one, two):
            connection.execute(f"SELECT * FROM {table}")
        one.execute(f"UPDATE {table} SET name = 'first' WHERE id = 1")
        one.commit()
        with pytest.raises(errors.SerializationFailure):
            two.execute(f"UPDATE {table} SET name = 'second' WHERE id = 1")
            two.commit()


def test_schema_changes_stand_outside_transactions(name):
    with psycopg.connect() as connection, pytest.raises(errors.ActiveSqlTransaction):
        connection.execute("SELECT 1")
        connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)")


# ---- Prepared statements, pipelines, cursors.


def test_statements_are_prepared(connection, table):
    for id in [1, 2, 1, 2, 1, 2, 1]:
        found = connection.execute(f"SELECT id FROM {table} WHERE id = %s", (id,), prepare=True).fetchone()
        assert found == (id,)
    connection.prepare_threshold = 1
    for id in range(20, 30):
        connection.execute(f"INSERT INTO {table} VALUES (%s, NULL)", (id,))
    assert connection.execute(f"SELECT count(*) FROM {table} WHERE id >= 20").fetchone() == (10,)


def test_a_prepared_statement_outlives_a_change_of_its_table(connection, table):
    find = f"SELECT name FROM {table} WHERE id = %s"
    assert connection.execute(find, (1,), prepare=True).fetchone() == ("one",)
    connection.execute(f"ALTER TABLE {table} ADD COLUMN more INTEGER DEFAULT 5")
    assert connection.execute(find, (2,), prepare=True).fetchone() == ("two",)


def test_prepared_statements_are_forgotten(connection):
    """A change of the schema has psycopg send DEALLOCATE ALL with its next statement."""
    for n in range(3):
        assert connection.execute("SELECT %s::integer", (n,), prepare=True).fetchone() == (n,)
    connection.execute("DEALLOCATE ALL")
    with pytest.raises(errors.InvalidSqlStatementName):
        connection.execute("DEALLOCATE no_such_statement")
    assert connection.execute("SELECT %s::integer", (7,), prepare=True).fetchone() == (7,)


def test_a_pipeline_is_one_journey(connection, table):
    with connection.pipeline() as pipeline, connection.cursor() as insert, connection.cursor() as find:
        insert.executemany(f"INSERT INTO {table} VALUES (%s, %s)", [(id, "piped") for id in range(10, 40)])
        find.execute(f"SELECT count(*) FROM {table} WHERE name = %s", ("piped",))
        pipeline.sync()
        assert find.fetchone() == (30,)


def test_an_error_in_a_pipeline_ends_it_up_to_the_sync(connection, table):
    with pytest.raises(errors.DivisionByZero), connection.pipeline():
        connection.execute("SELECT 1 / 0")
        connection.execute(f"INSERT INTO {table} VALUES (10, 'after')")
    assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (3,)


@pytest.mark.parametrize("binary", [False, True])
def test_cursors_of_the_server(table, binary):
    with psycopg.connect() as block, block.cursor(name="in parts", binary=binary) as cursor:
        cursor.itersize = 2
        cursor.execute(f"SELECT id, name FROM {table} WHERE id > %s ORDER BY id", (0,))
        assert [column.name for column in cursor.description] == ["id", "name"]
        assert cursor.fetchone() == (1, "one")
        assert block.execute(f"SELECT count(*) FROM {table}").fetchone() == (3,)
        assert list(cursor) == [(2, "two"), (3, None)]
        assert cursor.fetchall() == []


def test_a_cursor_of_the_server_outlasts_its_transaction(connection):
    with connection.cursor(name="held", withhold=True) as cursor:
        cursor.execute("SELECT v FROM generate_series(1, 50000) AS s(v)")
        assert sum(row[0] for row in cursor) == 50000 * 50001 // 2


def test_cursors_of_the_server_only_go_forward(table):
    with psycopg.connect() as block, block.cursor(name="c", scrollable=True) as cursor:
        with pytest.raises(errors.FeatureNotSupported, match="only goes forward"):
            cursor.execute(f"SELECT id FROM {table}")


def test_parameters_by_number(connection):
    cursor = psycopg.RawCursor(connection)
    assert cursor.execute("SELECT $2::text, $1::integer", (1, "two")).fetchone() == ("two", 1)


def test_parameters_put_in_by_the_client(connection, table):
    cursor = psycopg.ClientCursor(connection)
    values = (2, "it's", Decimal("1.5"), b"\x00\xff", dt.date(2026, 1, 1), [1, 2], None, True)
    found = cursor.execute("SELECT %s, %s, %s, %s, %s, %s, %s, %s", values).fetchone()
    assert found[:2] == values[:2] and found[3:6] == values[3:6] and found[6:] == (None, True)


# ---- COPY.


def test_rows_are_copied_in_and_out(connection, table):
    rows = [(10, "tab\tand\\"), (11, None), (12, "line\nbreak"), (13, "\\N"), (14, "")]
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY {table} (id, name) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        assert cursor.rowcount == 5
        with cursor.copy(f"COPY (SELECT * FROM {table} WHERE id >= 10 ORDER BY id) TO STDOUT") as copy:
            copy.set_types(["int4", "text"])
            assert list(copy.rows()) == rows


def test_csv_is_copied_in_and_out(connection, table):
    text = 'id,name\n20,"a,b"\n21,\n'
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY {table} FROM STDIN WITH (FORMAT csv, HEADER)") as copy:
            copy.write(text)
        query = f"COPY (SELECT * FROM {table} WHERE id >= 20 ORDER BY id) TO STDOUT WITH (FORMAT csv, HEADER)"
        with cursor.copy(query) as copy:
            assert b"".join(copy).decode() == text


def test_many_rows_are_copied(connection, table):
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY {table} FROM STDIN") as copy:
            for id in range(1000, 21_000):
                copy.write_row((id, f"name of {id}"))
        assert cursor.rowcount == 20_000
        with cursor.copy(f"COPY {table} TO STDOUT") as copy:
            assert sum(1 for _ in copy.rows()) == 20_003


def test_a_copy_that_fails_leaves_nothing(connection, table):
    with pytest.raises(errors.InvalidTextRepresentation), connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
        copy.write_row((10, "good"))
        copy.write("no number\tbad\n")
    with pytest.raises(ZeroDivisionError), connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
        copy.write_row((10, "good"))
        raise ZeroDivisionError
    assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (3,)


def test_copying_in_binary_is_refused(connection, table):
    for statement in (f"COPY {table} FROM STDIN (FORMAT binary)", f"COPY {table} TO STDOUT (FORMAT binary)"):
        with pytest.raises(psycopg.Error) as raised, connection.cursor().copy(statement) as copy:
            copy.read()
        assert raised.value.sqlstate in ("0A000", "22023")
    assert connection.execute("SELECT 1").fetchone() == (1,)


# ---- Cancelling, notices, waiting.

LONG = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b"


def runs(watcher, backend):
    """Waits until a session's statement runs."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND state = 'active'"
    while watcher.execute(query, (backend,)).fetchone() != (1,):
        pass


@pytest.mark.parametrize("way", ["cancel", "cancel_safe"])
def test_a_statement_is_cancelled(connection, way):
    with psycopg.connect(autocommit=True) as watcher:
        backend = connection.info.backend_pid

        def cancel():
            runs(watcher, backend)
            getattr(connection, way)()

        thread = threading.Thread(target=cancel)
        thread.start()
        with pytest.raises(errors.QueryCanceled):
            connection.execute(LONG)
        thread.join()
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_statement_that_takes_too_long_ends(connection):
    connection.execute("SET statement_timeout = '50ms'")
    with pytest.raises(errors.QueryCanceled):
        connection.execute(LONG)


def test_notices_come(connection, table):
    notices = []
    connection.add_notice_handler(lambda diagnosis: notices.append((diagnosis.severity, diagnosis.message_primary)))
    connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY)")
    assert notices == [("NOTICE", f'table "{table}" exists already, skipping')]


def test_without_blocking():
    async def both():
        async with await psycopg.AsyncConnection.connect(autocommit=True) as connection:
            cursor = await connection.execute("SELECT v FROM generate_series(1, 3) AS s(v)")
            return [row async for row in cursor]

    assert asyncio.run(both()) == [(1,), (2,), (3,)]


# ---- PQL.


def test_pipelines_take_parameters(connection, table):
    query = f"QUERY {table} WHERE id >= %s SELECT id, shout = upper(name) ORDER BY id LIMIT %s"
    assert connection.execute(query, (2, 5)).fetchall() == [(2, "TWO"), (3, None)]
    assert connection.execute(f"SELECT count(*) FROM (QUERY {table} WHERE id > 1) AS q").fetchone() == (2,)


def test_system_tables(connection):
    shards = connection.cursor(row_factory=dict_row).execute("QUERY SYSTEM.SHARDS ORDER BY shard_id").fetchall()
    assert [shard["shard_id"] for shard in shards] == [1, 2, 3, 4]
    assert sum(shard["slots"] for shard in shards) == 8192
    assert connection.execute("SHOW SHARDS").rowcount == 4


def test_statements_about_shards(connection, table):
    plan = connection.execute("EXPLAIN REBALANCE SHARDS WITH strategy = 'rows'")
    assert [column.name for column in plan.description] == ["item", "what", "why", "hint"]
    assert plan.fetchall()[0][0] == "plan"
    place = connection.cursor(row_factory=dict_row).execute(f"LOCATE {table} KEY (%s)", (1,)).fetchone()
    assert 1 <= place["shard_id"] <= 4 and 0 <= place["slot"] < 8192
    assert connection.execute("EXPLAIN SHARD 1").fetchall()


def test_a_rebalancing_is_begun_and_waited_for(connection, name):
    connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)")
    moved = connection.cursor(row_factory=dict_row).execute("MOVE SLOTS 0 TO 9 FROM SHARD 1 TO SHARD 2").fetchone()
    connection.execute("WAIT FOR JOB LAST TIMEOUT '60s'")
    query = "QUERY SYSTEM.JOBS WHERE job_id = %s SELECT state"
    assert connection.execute(query, (moved["job_id"],)).fetchone() == ("done",)
    again = connection.execute("REBALANCE SHARDS WITH strategy = 'uniform' AND target_imbalance = 0.001")
    assert again.statusmessage
    connection.execute("WAIT FOR JOB ALL TIMEOUT '60s'")


def test_the_past(connection, table):
    moment = connection.execute("SELECT now()").fetchone()[0]
    connection.execute(f"DELETE FROM {table}")
    assert connection.execute(f"SELECT count(*) FROM {table} AS OF '{moment.isoformat()}'").fetchone() == (3,)


def test_documents_are_looked_into(connection, name):
    connection.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY, j JSONB)")
    connection.execute(f"INSERT INTO {name} VALUES (1, %s)", (Jsonb({"a": {"b": [10, 20]}}),))
    found = connection.execute(f"SELECT j -> 'a' -> 'b' -> 1, j -> 'a' ->> 'b' FROM {name}").fetchone()
    assert found[0] == 20 and json.loads(found[1]) == [10, 20]


def test_files_are_written_and_read(connection, table):
    path = os.path.join(os.environ["EVENKEEL_DIRECTORY"], f"{table}.parquet")
    connection.execute(f"COPY {table} TO '{path}'")
    assert connection.execute(f"QUERY '{path}' SELECT n = count(*)").fetchone() == (3,)
