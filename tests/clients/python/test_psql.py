"""psql: describing, copying, shapes of answers, errors with their caret, scripts, PQL."""

import os
import re
import subprocess

import pytest
from conftest import TLS


class Answer:
    def __init__(self, done):
        self.code, self.out, self.errors = done.returncode, done.stdout, done.stderr

    @property
    def lines(self):
        return self.out.splitlines()


def psql(*arguments, given=None, **environment):
    """What psql says, without anybody's own settings."""
    command = ["psql", "-X", "--no-password", *arguments]
    variables = os.environ | {"PAGER": "cat"} | environment
    return Answer(subprocess.run(command, input=given, capture_output=True, text=True, env=variables, timeout=120))


def rows(*statements):
    """The rows of statements, columns between bars."""
    answer = psql("-At", "-v", "ON_ERROR_STOP=1", *(part for text in statements for part in ("-c", text)))
    assert answer.code == 0, answer.errors
    return answer.lines


def described(command):
    """What a command that describes something says; it may not fail."""
    answer = psql("-v", "ON_ERROR_STOP=1", "-c", command)
    assert (answer.code, answer.errors.replace("Did not find any relations.\n", "")) == (0, "")
    return answer.out


@pytest.fixture
def ships(connection, name):
    """A table of every kind of column that psql shows in a way of its own."""
    connection.execute(
        f"CREATE TABLE {name} (id BIGINT PRIMARY KEY, name VARCHAR(40) NOT NULL, tons INTEGER CHECK (tons > 0), "
        "price DECIMAL(9,2) DEFAULT 1.5, tags TEXT[], built DATE)"
    )
    aurora, brig = "1, 'Aurora', 40, 9.5, '{a,b}', '1999-05-01'", "2, 'Brig', NULL, 1, NULL, NULL"
    connection.execute(f"INSERT INTO {name} VALUES ({aurora}), ({brig})")
    connection.execute(f"CREATE VIEW {name}_heavy AS SELECT id, name FROM {name} WHERE tons > 20")
    yield name
    connection.execute(f"DROP VIEW {name}_heavy")
    connection.execute(f"DROP TABLE {name}")


# ---- Connecting.


def test_it_connects_as_asked():
    said = described("\\conninfo")
    assert 'as user "admin"' in said
    assert ("SSL connection" in said) == TLS


def test_a_wrong_password_is_refused():
    answer = psql("-c", "SELECT 1", PGPASSWORD="wrong")
    assert answer.code == 2
    assert 'password authentication failed for user "admin"' in answer.errors


def test_the_versions_fit():
    answer = psql(given="SELECT 1;\n")
    assert "WARNING" not in answer.out + answer.errors


def test_databases_are_listed():
    answer = psql("-l")
    assert answer.code == 0, answer.errors
    assert "evenkeel" in answer.out


# ---- Describing.


def test_d_lists_what_is_there(ships):
    said = described("\\d")
    assert re.search(rf"public \| {ships}\s+\| table \| admin", said)
    assert re.search(rf"public \| {ships}_heavy\s+\| view  \| admin", said)


def test_d_describes_a_table(ships):
    said = described(f"\\d {ships}")
    assert f'Table "public.{ships}"' in said
    for column in (
        r"id\s+\| bigint\s+\|\s+\| not null \|",
        r"name\s+\| character varying\(40\)\s+\|\s+\| not null \|",
        r"tons\s+\| integer\s+\|\s+\|\s+\|",
        r"price\s+\| numeric\(9,2\)\s+\|\s+\|\s+\| 1\.5",
        r"tags\s+\| text\[\]",
        r"built\s+\| date",
    ):
        assert re.search(column, said), said
    assert re.search(r'"\w+" PRIMARY KEY, \w+ \(id\)', said)
    assert "tons > 0" in said


def test_d_describes_a_view(ships):
    said = described(f"\\d+ {ships}_heavy")
    assert f'View "public.{ships}_heavy"' in said
    assert "WHERE tons > 20" in said


def test_dt_lists_tables(ships):
    assert re.search(rf"public \| {ships}\s+\| table \| admin", described("\\dt"))
    assert re.search(rf"{ships} .*(bytes|kB|MB)", described(f"\\dt+ {ships}"))


def test_dv_lists_views(ships):
    said = described("\\dv")
    assert f"{ships}_heavy" in said and not re.search(rf"{ships} ", said)
    assert "shards" in described("\\dv system.*")


def test_di_lists_keys(ships):
    assert ships in described("\\di")


def test_dn_lists_schemas():
    assert re.search(r"public\s+\| ", described("\\dn"))
    assert "public" in described("\\dn+")


def test_df_lists_functions():
    assert "upper" in described("\\df upper")
    assert described("\\df")


def test_l_lists_the_database():
    assert "evenkeel" in described("\\l")
    assert "UTF8" in described("\\l+")


def test_du_lists_users(connection, name):
    connection.execute(f"CREATE USER {name} PASSWORD 'a long secret'")
    said = described("\\du")
    assert re.search(r"admin\s+\| Superuser", said) and name in said
    connection.execute(f"DROP USER {name}")


def test_dp_lists_rights(ships):
    assert ships in described("\\dp")


# What there is none of is empty, and no error.
@pytest.mark.parametrize("what", "s m E x Rp T b C o D y c".split())
def test_what_is_not_there_is_no_error(what):
    described(f"\\d{what}")


def test_a_name_that_is_not_there():
    answer = psql("-c", "\\d nowhere")
    assert 'Did not find any relation named "nowhere".' in answer.errors


# ---- Answers.


def test_an_aligned_table(ships):
    answer = psql("-c", f"SELECT id, name, tons FROM {ships} ORDER BY id")
    assert answer.lines == [
        " id |  name  | tons ",
        "----+--------+------",
        "  1 | Aurora |   40",
        "  2 | Brig   |     ",
        "(2 rows)",
        "",
    ]


def test_gx_turns_a_row_on_its_side(ships):
    answer = psql(given=f"SELECT id, name FROM {ships} WHERE id = 1 \\gx\n")
    assert answer.lines == ["-[ RECORD 1 ]", "id   | 1", "name | Aurora", ""]


def test_csv_and_html(ships):
    assert psql("--csv", "-c", f"SELECT id, name FROM {ships} ORDER BY id").lines == ["id,name", "1,Aurora", "2,Brig"]
    assert "<td" in psql("-H", "-c", "SELECT 1").out


def test_gdesc_describes_an_answer(ships):
    answer = psql("-At", given=f"SELECT id, price, tags, now() FROM {ships} \\gdesc\n")
    assert answer.lines == [
        "id|bigint",
        "price|numeric(9,2)",
        "tags|text[]",
        "now|timestamp with time zone",
    ]


def test_gset_and_gexec(ships):
    answer = psql("-At", given=f"SELECT max(id) AS most FROM {ships} \\gset\nSELECT :most + 1;\n")
    assert answer.lines == ["3"]
    answer = psql("-At", given="SELECT 'SELECT ' || v FROM generate_series(1, 3) AS s(v) ORDER BY v \\gexec\n")
    assert answer.lines == ["1", "2", "3"]


def test_crosstabview():
    query = "SELECT * FROM (VALUES ('a', 'x', 1), ('a', 'y', 2), ('b', 'x', 3)) AS t(r, c, v) \\crosstabview\n"
    answer = psql("-A", given=query)
    assert answer.lines == ["r|x|y", "a|1|2", "b|3|", "(2 rows)"], answer.errors


def test_variables(ships):
    answer = psql("-At", "-v", "who=Brig", given=f"SELECT id FROM {ships} WHERE name = :'who';\n")
    assert answer.lines == ["2"]


def test_what_an_answer_leaves_in_variables():
    three = "SELECT 1 FROM generate_series(1, 3);\n\\echo :ROW_COUNT\n"
    answer = psql(given=f"SELECT 1 / 0;\n\\echo :ERROR :SQLSTATE\n{three}")
    assert "true 22012" in answer.out and answer.lines[-1] == "3"


def test_answers_are_fetched_in_parts(ships):
    """psql does so by a cursor, in a block that it makes where there is none."""
    script = f"SELECT v FROM generate_series(1, 25) AS s(v);\nSELECT name FROM {ships} WHERE id = 1;\n\\echo :ROW_COUNT\n"
    answer = psql("-At", "-v", "FETCH_COUNT=10", given=script)
    assert answer.lines == [*(str(v) for v in range(1, 26)), "Aurora", "1"]


def test_conditions_of_scripts():
    script = "SELECT count(*) = 4 AS four FROM system.shards \\gset\n\\if :four\n\\echo yes\n\\else\n\\echo no\n\\endif\n"
    assert psql(given=script).lines == ["yes"]


# ---- Errors.


def test_an_error_has_its_caret_and_hint(ships):
    answer = psql("-c", f"SELECT 'ä', nmae FROM {ships}")
    assert answer.code == 1
    lines = answer.errors.splitlines()
    assert lines[0].startswith("ERROR:  ") and "nmae" in lines[0]
    assert lines[1] == f"LINE 1: SELECT 'ä', nmae FROM {ships}"
    assert lines[2] == " " * (len("LINE 1: ") + 12) + "^"
    assert lines[3].startswith("HINT:  ") and "name" in lines[3]


def test_a_caret_stands_in_its_line():
    answer = psql("-c", "QUERY system.shards\nWHERE row_cuont > 1")
    lines = answer.errors.splitlines()
    assert lines[1:3] == ["LINE 2: WHERE row_cuont > 1", " " * (len("LINE 2: ") + 6) + "^"]


def test_an_error_in_full():
    answer = psql(given="SELECT nothing;\n\\errverbose\n")
    assert "ERROR:  42703:" in answer.errors


def test_scripts_stop_where_they_are_told_to(tmp_path, name):
    script = tmp_path / "script.sql"
    script.write_text(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY);\nSELEC 1;\nDROP TABLE {name};\n")
    answer = psql("-v", "ON_ERROR_STOP=1", "-f", str(script))
    assert answer.code == 3
    assert f"{script}:2: ERROR:" in answer.errors
    assert rows(f"SELECT count(*) FROM {name}", f"DROP TABLE {name}") == ["0", "DROP TABLE"]


def test_several_statements_of_one_c(ships):
    update, find = f"UPDATE {ships} SET tons = 41 WHERE id = 1", f"SELECT tons FROM {ships} WHERE id = 1"
    answer = psql("-At", "-c", f"SELECT 1; {update}; {find}")
    assert answer.lines == ["1", "UPDATE 1", "41"]


def test_a_file_in_one_transaction(tmp_path, ships):
    script = tmp_path / "script.sql"
    script.write_text(f"DELETE FROM {ships};\nSELECT 1 / 0;\n")
    assert psql("-1", "-v", "ON_ERROR_STOP=1", "-f", str(script)).code == 3
    assert rows(f"SELECT count(*) FROM {ships}") == ["2"]


def test_without_autocommit(ships):
    answer = psql("-v", "AUTOCOMMIT=off", given=f"DELETE FROM {ships};\nROLLBACK;\nSELECT count(*) AS n FROM {ships};\n")
    assert "DELETE 2" in answer.out
    assert rows(f"SELECT count(*) FROM {ships}") == ["2"]


def test_rollback_to_the_last_good_statement(ships):
    script = f"BEGIN;\nDELETE FROM {ships} WHERE id = 1;\nSELECT 1 / 0;\nCOMMIT;\n"
    answer = psql("-v", "ON_ERROR_ROLLBACK=on", given=script)
    assert "COMMIT" in answer.out, answer.errors
    assert rows(f"SELECT id FROM {ships}") == ["2"]


# ---- Copying.


def test_copy_both_ways(tmp_path, ships):
    file = tmp_path / "ships.tsv"
    assert described(f"\\copy {ships} TO '{file}'").strip() == "COPY 2"
    wanted = ["1\tAurora\t40\t9.50\t{a,b}\t1999-05-01", "2\tBrig\t\\N\t1.00\t\\N\t\\N"]
    assert sorted(file.read_text().splitlines()) == wanted
    rows(f"DELETE FROM {ships}")
    assert described(f"\\copy {ships} FROM '{file}'").strip() == "COPY 2"
    assert rows(f"SELECT * FROM {ships} WHERE id = 1") == ["1|Aurora|40|9.50|{a,b}|1999-05-01"]


def test_copy_csv_with_a_header(tmp_path, ships):
    file = tmp_path / "ships.csv"
    described(f"\\copy (SELECT id, name FROM {ships} ORDER BY id) TO '{file}' WITH (FORMAT csv, HEADER)")
    assert file.read_text() == "id,name\n1,Aurora\n2,Brig\n"
    rows(f"DELETE FROM {ships}")
    described(f"\\copy {ships} (id, name) FROM '{file}' CSV HEADER")
    assert rows(f"SELECT name, price FROM {ships} ORDER BY id") == ["Aurora|1.50", "Brig|1.50"]


def test_rows_stand_in_the_script(ships):
    script = f"COPY {ships} (id, name) FROM STDIN;\n7\tEtna\n8\tFram\n\\.\nSELECT count(*) FROM {ships};\n"
    assert psql("-At", given=script).lines == ["COPY 2", "4"]


def test_a_wrong_row_is_named(ships):
    answer = psql("-c", f"\\copy {ships} (id, name) FROM STDIN", given="7\tEtna\nx\tFram\n\\.\n")
    assert answer.code == 1
    assert "line 2" in answer.errors
    assert rows(f"SELECT count(*) FROM {ships}") == ["2"]


def test_copy_to_standard_output(ships):
    assert psql("-c", f"COPY (QUERY {ships} SELECT id ORDER BY id) TO STDOUT").lines == ["1", "2"]


# ---- PQL.


def test_pipelines(ships):
    assert rows(f"QUERY {ships} WHERE tons > 20 SELECT id, shout = upper(name)") == ["1|AURORA"]
    assert rows("QUERY SYSTEM.SHARDS SELECT shard_id ORDER BY shard_id") == ["1", "2", "3", "4"]


def test_rebalancing_is_explained_and_done():
    said = psql("-c", "EXPLAIN REBALANCE SHARDS")
    assert said.code == 0 and re.search(r"item\s+\|\s+what\s+\|\s+why", said.out)
    done = psql("-c", "REBALANCE SHARDS WITH strategy = 'rows'")
    assert done.code == 0
    assert "NOTICE" in done.errors or "job_id" in done.out


def test_jobs_are_waited_for():
    job = rows("MOVE SLOTS 100 TO 103 FROM SHARD 1 TO SHARD 2")[0].split("|")[0]
    assert rows("WAIT FOR JOB LAST TIMEOUT '60s'", f"QUERY SYSTEM.JOBS WHERE job_id = {job} SELECT state")[-1] == "done"
    assert psql("-c", f"UNDO JOB {job}").code == 0
    assert psql("-c", "WAIT FOR JOB ALL TIMEOUT '60s'").code == 0


def test_watching_and_timing():
    answer = psql(given="\\timing on\nQUERY SYSTEM.SHARDS SELECT n = count(*);\n")
    assert re.search(r"Time: [\d.,]+ ms", answer.out)
