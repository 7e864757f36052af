//! Prepared statements, portals, pipelines.

use crate::ground::{Ground, rows};
use futures::future::try_join_all;
use tokio_postgres::types::Type;

#[tokio::test(flavor = "multi_thread")]
async fn parameters_get_their_types_from_where_they_stand() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client
        .batch_execute("CREATE TABLE t (id integer PRIMARY KEY, big bigint, name text, price decimal(10,2), at date)")
        .await
        .expect("made");
    let types = async |statement: &str| {
        let prepared = client.prepare(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        prepared.params().to_vec()
    };
    assert_eq!(types("SELECT * FROM t WHERE id = $1").await, [Type::INT4]);
    assert_eq!(types("SELECT * FROM t WHERE big > $1 AND name = $2").await, [Type::INT8, Type::TEXT]);
    assert_eq!(types("QUERY t WHERE id = $1 SELECT name").await, [Type::INT4]);
    assert_eq!(
        types("INSERT INTO t (name, id, price) VALUES ($1, $2, $3)").await,
        [Type::TEXT, Type::INT4, Type::NUMERIC]
    );
    assert_eq!(types("UPDATE t SET big = big + $1, at = $2 WHERE id = $3").await, [Type::INT8, Type::DATE, Type::INT4]);
    assert_eq!(types("DELETE FROM t WHERE id = $1").await, [Type::INT4]);
    assert_eq!(types("SELECT * FROM t WHERE id = ANY($1)").await, [Type::INT4_ARRAY]);
    assert_eq!(
        types("DELETE FROM t WHERE at = ANY($1) OR name <> ALL($2)").await,
        [Type::DATE_ARRAY, Type::TEXT_ARRAY]
    );
    assert_eq!(types("SELECT $1").await, [Type::TEXT]);
    assert_eq!(types("LOCATE t KEY ($1)").await, [Type::INT4]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_of_single_rows_are_checked_as_any_others() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    let table = "CREATE TABLE t (id integer PRIMARY KEY, n integer NOT NULL, s smallint, big bigint DEFAULT 9, name text, \
                 at timestamp, moment timestamptz)";
    client.batch_execute(table).await.expect("made");
    let insert = "INSERT INTO t (id, n, s, name, at, moment) VALUES ($1, $2, $3, $4, now(), CURRENT_TIMESTAMP)";
    let insert = client.prepare(insert).await.expect("prepared");
    for (id, s, name) in [(1, Some(-5_i16), Some("one")), (2, None, None)] {
        assert_eq!(client.execute(&insert, &[&id, &(id * 10), &s, &name]).await.expect("inserted"), 1);
    }
    let is_now = "at = moment AT TIME ZONE 'UTC' AND now() - moment < INTERVAL '1 minute'";
    let seen = format!("SELECT id, n, s, big, name, {is_now} FROM t ORDER BY id");
    assert_eq!(rows(&client, &seen).await, ["1|10|-5|9|one|t", "2|20|NULL|9|NULL|t"]);
    let twice = client.execute(&insert, &[&1, &1, &None::<i16>, &None::<&str>]).await.expect_err("there already");
    assert_eq!(twice.code().map(|code| code.code()), Some("23505"));
    let null = client.execute(&insert, &[&3, &None::<i32>, &None::<i16>, &None::<&str>]).await.expect_err("NOT NULL");
    assert_eq!(null.code().map(|code| code.code()), Some("23502"));
    let update =
        client.prepare("UPDATE t SET n = n + $1, s = $2, big = big - n WHERE id = $3").await.expect("prepared");
    assert_eq!(client.execute(&update, &[&5, &Some(7_i16), &1]).await.expect("updated"), 1);
    let wide = client.execute(&update, &[&i32::MAX, &None::<i16>, &1]).await.expect_err("too large");
    assert_eq!(wide.code().map(|code| code.code()), Some("22003"));
    let null = client.execute(&update, &[&None::<i32>, &None::<i16>, &1]).await.expect_err("NOT NULL");
    assert_eq!(null.code().map(|code| code.code()), Some("23502"));
    assert_eq!(rows(&client, "SELECT n, s, big FROM t WHERE id = 1").await, ["15|7|-1"]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_change_and_find_rows() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY, n bigint, name text)").await.expect("made");
    let insert = client.prepare("INSERT INTO t VALUES ($1, $2, $3)").await.expect("prepared");
    for id in 0..100_i32 {
        let (n, name) = (i64::from(id) * 10, format!("name {id}"));
        assert_eq!(client.execute(&insert, &[&id, &n, &name]).await.expect("inserted"), 1);
    }
    let find = client.prepare("SELECT n, name FROM t WHERE id = $1").await.expect("prepared");
    let row = client.query_one(&find, &[&42_i32]).await.expect("a row");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, &str>(1)), (420, "name 42"));
    assert!(client.query_opt(&find, &[&1_000_i32]).await.expect("no error").is_none());
    let update = client.prepare("UPDATE t SET n = n + $1 WHERE id = $2").await.expect("prepared");
    assert_eq!(client.execute(&update, &[&5_i64, &42_i32]).await.expect("updated"), 1);
    assert_eq!(client.execute(&update, &[&5_i64, &1_000_i32]).await.expect("nothing there"), 0);
    assert_eq!(client.query_one(&find, &[&42_i32]).await.expect("a row").get::<_, i64>(0), 425);
    let many = client.query("SELECT id FROM t WHERE n >= $1 ORDER BY id LIMIT $2", &[&500_i64, &3_i64]).await;
    let ids: Vec<i32> = many.expect("rows").iter().map(|row| row.get(0)).collect();
    assert_eq!(ids, [50, 51, 52]);
    let null = client.execute(&update, &[&None::<i64>, &1_i32]).await.expect("updated");
    assert_eq!(null, 1);
    assert_eq!(client.query_one(&find, &[&1_i32]).await.expect("a row").get::<_, Option<i64>>(0), None);
    let returned = client.query("DELETE FROM t WHERE id = $1 RETURNING name", &[&7_i32]).await.expect("deleted");
    assert_eq!(returned[0].get::<_, &str>(0), "name 7");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn point_reads_are_part_of_their_transaction() {
    let ground = Ground::new().await;
    let (client, other) = (ground.client().await, ground.client().await);
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY, n integer); ").await.expect("made");
    client.batch_execute("INSERT INTO t VALUES (1, 1)").await.expect("filled");
    let find = client.prepare("SELECT n FROM t WHERE id = $1").await.expect("prepared");
    client.batch_execute("BEGIN").await.expect("open");
    assert_eq!(client.query_one(&find, &[&1_i32]).await.expect("a row").get::<_, i32>(0), 1);
    other.batch_execute("UPDATE t SET n = 2").await.expect("by another");
    assert_eq!(client.query_one(&find, &[&1_i32]).await.expect("a row").get::<_, i32>(0), 1);
    client.batch_execute("COMMIT").await.expect("over");
    assert_eq!(client.query_one(&find, &[&1_i32]).await.expect("a row").get::<_, i32>(0), 2);
    ground.end().await;
}

/// Drivers describe a statement before they carry it out, within the block: that must not count as having looked at rows.
#[tokio::test(flavor = "multi_thread")]
async fn rows_are_chosen_with_parameters() {
    let ground = Ground::new().await;
    let (client, other) = (ground.client().await, ground.client().await);
    client.batch_execute("CREATE TABLE t (id bigint PRIMARY KEY, n integer)").await.expect("made");
    client.batch_execute("INSERT INTO t SELECT value, 0 FROM generate_series(1, 9)").await.expect("filled");
    for find in [
        "SELECT n FROM t WHERE id = $1 FOR UPDATE",
        "SELECT n FROM t WHERE id + 0 = $1 FOR UPDATE",
        "SELECT n FROM t WHERE id >= $1 ORDER BY id FETCH FIRST 1 ROWS ONLY FOR UPDATE",
    ] {
        client.batch_execute("BEGIN").await.expect("open");
        let find = client.prepare(find).await.expect("prepared");
        other.batch_execute("UPDATE t SET n = n + 1").await.expect("by another");
        let before: i32 = client.query_one(&find, &[&3_i64]).await.expect("a row").get(0);
        let skipping = "SELECT id FROM t WHERE id < $1 ORDER BY id OFFSET $2 LIMIT $3 FOR UPDATE SKIP LOCKED";
        let rest = other.query(skipping, &[&6_i64, &1_i64, &3_i64]).await.expect("the others");
        assert_eq!(rest.iter().map(|row| row.get(0)).collect::<Vec<i64>>(), [2, 4, 5]);
        let held = other.query("SELECT n FROM t WHERE id = $1 FOR UPDATE NOWAIT", &[&3_i64]).await;
        assert_eq!(held.expect_err("held").code().map(|code| code.code()), Some("55P03"));
        client.execute("UPDATE t SET n = $1 WHERE id = $2", &[&(before + 10), &3_i64]).await.expect("changed");
        client.batch_execute("COMMIT").await.expect("over");
    }
    assert_eq!(rows(&client, "SELECT n FROM t WHERE id = 3").await, ["33"]);
    // A narrower number than the key's column is the same number.
    let narrow =
        client.prepare_typed("SELECT n FROM t WHERE id = $1 FOR UPDATE", &[Type::INT4]).await.expect("prepared");
    assert_eq!(client.query_one(&narrow, &[&3_i32]).await.expect("a row").get::<_, i32>(0), 33);
    let narrow = client.prepare_typed("SELECT n FROM t WHERE id = $1", &[Type::INT2]).await.expect("prepared");
    assert_eq!(client.query_one(&narrow, &[&3_i16]).await.expect("a row").get::<_, i32>(0), 33);
    // As psycopg and SQLAlchemy write it: it is an UPDATE of one row all the same, and holds it.
    client.batch_execute("BEGIN").await.expect("open");
    let update = "UPDATE t SET n = $1::INTEGER WHERE t.id = $2::BIGINT";
    let update = client.prepare_typed(update, &[Type::INT2, Type::INT2]).await.expect("prepared");
    assert_eq!(client.execute(&update, &[&7_i16, &3_i16]).await.expect("changed"), 1);
    let held = other.query("SELECT n FROM t WHERE t.id = $1::BIGINT FOR UPDATE NOWAIT", &[&3_i64]).await;
    assert_eq!(held.expect_err("held").code().map(|code| code.code()), Some("55P03"));
    client.batch_execute("COMMIT").await.expect("over");
    let insert = "INSERT INTO t VALUES ($1::BIGINT, $2::INTEGER), ($3::BIGINT, $1::INTEGER + 1)";
    let insert = client.prepare_typed(insert, &[Type::INT2, Type::INT2, Type::INT4]).await.expect("prepared");
    assert_eq!(client.execute(&insert, &[&50_i16, &-1_i16, &70_000_i32]).await.expect("inserted"), 2);
    let insert =
        client.prepare_typed("INSERT INTO t VALUES ($1::BIGINT, $2::INTEGER)", &[Type::INT2, Type::INT8]).await;
    let wide = client.execute(&insert.expect("prepared"), &[&51_i16, &(1_i64 << 40)]).await.expect_err("too large");
    assert_eq!(wide.code().map(|code| code.code()), Some("22003"));
    client.batch_execute("CREATE TABLE f (k double precision PRIMARY KEY, n integer)").await.expect("made");
    client.batch_execute("INSERT INTO f VALUES (0.5, 1), (2, 2)").await.expect("filled");
    for (find, kind) in [("k = $1", Type::FLOAT8), ("f.k = $1::double precision", Type::FLOAT8)] {
        let find = format!("SELECT n FROM f WHERE {find} FOR UPDATE");
        let find = client.prepare_typed(&find, &[kind]).await.expect("prepared");
        assert_eq!(client.query_one(&find, &[&0.5_f64]).await.expect("a row").get::<_, i32>(0), 1);
    }
    let expected = ["3|7", "50|-1", "70000|51"];
    assert_eq!(rows(&client, "SELECT id, n FROM t WHERE id = 3 OR id > 9 ORDER BY id").await, expected);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_of_one_name_beside_parameters() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id bigint PRIMARY KEY, n bigint)").await.expect("made");
    client.batch_execute("INSERT INTO t VALUES (1, 7)").await.expect("filled");
    let find = "SELECT n, n, n::text, id + $2::bigint, id + $2::bigint FROM t WHERE id > $1::bigint";
    let row = client.query_one(find, &[&0_i64, &5_i64]).await.expect("a row");
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, &str>(2)), (7, 7, "7"));
    assert_eq!((row.get::<_, i64>(3), row.get::<_, i64>(4)), (6, 6));
    client.execute("UPDATE t SET n = n + $1, id = n + $1 WHERE id > 0", &[&1_i64]).await.expect("changed");
    client.execute("INSERT INTO t SELECT n + $1::bigint, n + $1::bigint FROM t", &[&10_i64]).await.expect("copied");
    assert_eq!(rows(&client, "SELECT id, n FROM t ORDER BY id").await, ["8|8", "18|18"]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_has_parameters() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    let series =
        client.prepare("SELECT v FROM generate_series($1, $2 + 1, $3::integer) AS s(v)").await.expect("prepared");
    for (last, step, expected) in [(5_i64, 2_i32, vec![1_i64, 3, 5]), (2, 1, vec![1, 2, 3]), (-5, 1, vec![])] {
        let found = client.query(&series, &[&1_i64, &last, &step]).await.expect("rows");
        assert_eq!(found.iter().map(|row| row.get::<_, i64>(0)).collect::<Vec<_>>(), expected);
    }
    assert_eq!(client.query(&series, &[&None::<i64>, &1_i64, &1_i32]).await.expect("no rows").len(), 0);
    client.batch_execute("CREATE TABLE t (id bigint PRIMARY KEY, n bigint)").await.expect("made");
    let fill = "INSERT INTO t SELECT v, v * $2 FROM generate_series(1, $1) AS s(v) WHERE v <> $3";
    assert_eq!(client.execute(fill, &[&4_i64, &10_i64, &2_i64]).await.expect("filled"), 3);
    assert_eq!(rows(&client, "SELECT id, n FROM t ORDER BY id").await, ["1|10", "3|30", "4|40"]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn portals_are_fetched_in_parts() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    let transaction = client.transaction().await.expect("open");
    let series = "SELECT v FROM generate_series(1, 30000) AS s(v)";
    let portal = transaction.bind(series, &[]).await.expect("bound");
    let first = transaction.query_portal(&portal, 10).await.expect("rows");
    assert_eq!(first.len(), 10);
    // Another statement while the portal is open.
    assert_eq!(transaction.query_one("SELECT 1::bigint", &[]).await.expect("a row").get::<_, i64>(0), 1);
    let second = transaction.query_portal(&portal, 20_000).await.expect("rows");
    assert_eq!(second.len(), 20_000);
    let rest = transaction.query_portal(&portal, 0).await.expect("rows");
    assert_eq!(rest.len(), 30_000 - 10 - 20_000);
    let all: Vec<i64> = first.iter().chain(&second).chain(&rest).map(|row| row.get(0)).collect();
    assert!(all.iter().copied().eq(1..=30_000));
    transaction.commit().await.expect("over");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_at_its_end_has_no_more_rows() {
    let ground = Ground::new().await;
    let mut client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY)").await.expect("made");
    let transaction = client.transaction().await.expect("open");
    let portal = transaction.bind("SELECT v FROM generate_series(1, 3) AS s(v)", &[]).await.expect("bound");
    for rows in [3, 0, 0] {
        assert_eq!(transaction.query_portal(&portal, 0).await.expect("no error").len(), rows);
    }
    // What changes something does so once.
    let portal = transaction.bind("INSERT INTO t VALUES (1)", &[]).await.expect("bound");
    transaction.query_portal(&portal, 0).await.expect("inserted");
    let again = transaction.query_portal(&portal, 0).await.expect_err("it is over");
    assert_eq!(again.code().map(|code| code.code()), Some("55000"));
    transaction.rollback().await.expect("over");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_any_type_are_parameters() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY, price decimal(6,2))").await.expect("made");
    client.batch_execute("INSERT INTO t VALUES (1, 1.5), (2, 2), (30, NULL)").await.expect("filled");
    let of = async |statement: &str, list: &(dyn tokio_postgres::types::ToSql + Sync)| {
        let found = client.query(statement, &[list]).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        found.iter().map(|row| row.get::<_, i32>(0)).collect::<Vec<_>>()
    };
    assert_eq!(of("SELECT id FROM t WHERE id = ANY($1) ORDER BY id", &vec![30, 1, 7]).await, [1, 30]);
    assert_eq!(of("SELECT id FROM t WHERE id <> ALL($1) ORDER BY id", &vec![30, 1]).await, [2]);
    assert_eq!(of("SELECT id FROM t WHERE id < ANY($1) ORDER BY id", &vec![1, 3]).await, [1, 2]);
    assert_eq!(of("SELECT id FROM t WHERE id = ANY($1)", &Vec::<i32>::new()).await, [0; 0]);
    // As numbers: as text, 1.50 is not 1.5.
    let equal = "SELECT id FROM t WHERE price::double precision = ANY($1::double precision[]) ORDER BY id";
    assert_eq!(of(equal, &vec![1.5, 2.0]).await, [1, 2]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn computed_columns_have_postgresql_s_names() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    let query = "SELECT count(*), $1::integer, 1 + 1, upper('a') FROM generate_series(1, 3) AS n WHERE n > 1";
    let prepared = client.prepare(query).await.expect("prepared");
    let said: Vec<&str> = prepared.columns().iter().map(|column| column.name()).collect();
    assert_eq!(said, ["count", "int4", "?column?", "upper"]);
    let row = client.query_one(&prepared, &[&5_i32]).await.expect("a row");
    assert_eq!((row.get::<_, i64>("count"), row.get::<_, i32>("int4")), (2, 5));
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_answered_in_its_order() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    let double = client.prepare("SELECT $1::integer * 2").await.expect("prepared");
    let numbers: Vec<i32> = (0..500).collect();
    let answers = try_join_all(numbers.iter().map(|number| {
        let double = double.clone();
        let client = &client;
        async move { client.query_one(&double, &[number]).await.map(|row| row.get::<_, i64>(0)) }
    }));
    let answers = answers.await.expect("all of them");
    assert!(answers.into_iter().eq((0..500_i64).map(|number| number * 2)));
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_ends_its_statement_alone() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    let divide = client.prepare("SELECT 10 / $1::integer").await.expect("prepared");
    let answers = futures::future::join_all([1_i32, 0, 5].map(|number| {
        let (client, divide) = (&client, divide.clone());
        async move { client.query_one(&divide, &[&number]).await.map(|row| row.get::<_, i64>(0)) }
    }));
    let answers = answers.await;
    assert_eq!(answers[0].as_ref().ok(), Some(&10));
    assert_eq!(answers[1].as_ref().err().and_then(|error| error.code()).map(|code| code.code()), Some("22012"));
    assert_eq!(answers[2].as_ref().ok(), Some(&2));
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_outlives_changes_of_its_table() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY, n integer)").await.expect("made");
    client.batch_execute("INSERT INTO t VALUES (1, 10)").await.expect("filled");
    let one = client.prepare("SELECT n FROM t WHERE id = $1").await.expect("prepared");
    let all = client.prepare("SELECT * FROM t WHERE id = $1").await.expect("prepared");
    client.batch_execute("ALTER TABLE t ADD COLUMN more text DEFAULT 'x'").await.expect("altered");
    assert_eq!(client.query_one(&one, &[&1_i32]).await.expect("a row").get::<_, i32>(0), 10);
    let changed = client.query(&all, &[&1_i32]).await.expect_err("other columns");
    assert_eq!(changed.code().map(|code| code.code()), Some("0A000"));
    client.batch_execute("DROP TABLE t").await.expect("dropped");
    let gone = client.query(&one, &[&1_i32]).await.expect_err("no table");
    assert_eq!(gone.code().map(|code| code.code()), Some("42P01"));
    ground.end().await;
}

/// What a statement is said to answer with is what it answers with.
#[tokio::test(flavor = "multi_thread")]
async fn descriptions_are_true() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY, name text)").await.expect("made");
    client.batch_execute("INSERT INTO t SELECT v, 'x' FROM generate_series(1, 1000) AS s(v)").await.expect("filled");
    for statement in [
        "SELECT * FROM t",
        "QUERY t SELECT id, name",
        "SELECT count(*), avg(id), now() FROM t",
        "INSERT INTO t VALUES (2001, 'y') RETURNING id, upper(name)",
        "UPDATE t SET name = 'z' WHERE id = 1 RETURNING *",
        "DELETE FROM t WHERE id = 2 RETURNING id",
        "UPSERT INTO t VALUES (3, 'z') RETURNING name",
        "EXPLAIN SELECT * FROM t",
        "EXPLAIN REBALANCE SHARDS",
        "EXPLAIN SHARD 1",
        "DESCRIBE t",
        "SHOW TABLES",
        "SHOW COLUMNS FROM t",
        "SHOW SHARDS",
        "SHOW JOBS",
        "SHOW NODES",
        "SHOW SETTINGS",
        "SHOW BALANCER",
        "SHOW ALL",
        "SHOW synchronous_commit",
        "LOCATE t KEY (1)",
        "VERIFY SHARD 1",
        "SPLIT SHARD 1",
        "WAIT FOR JOB ALL",
        "PIN SHARD 1",
        "UNPIN SHARD 1",
        "ALTER SYSTEM SET gc_retention = '10min'",
        "ANALYZE t",
        "QUERY SYSTEM.SHARDS",
    ] {
        let prepared = client.prepare(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        let said: Vec<String> = prepared.columns().iter().map(|column| column.name().to_string()).collect();
        let text = client.simple_query(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        let columns = text.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::RowDescription(columns) => {
                Some(columns.iter().map(|column| column.name().to_string()).collect::<Vec<_>>())
            }
            _ => None,
        });
        // A statement may find nothing to do, and says so instead of rows.
        if let Some(columns) = columns {
            assert_eq!(columns, said, "{statement}");
        } else {
            let never = ["SELECT", "QUERY", "SHOW", "EXPLAIN", "DESCRIBE", "LOCATE", "VERIFY"];
            assert!(!never.iter().any(|word| statement.starts_with(word)), "{statement} described {said:?}");
        }
    }
    assert_eq!(rows(&client, "SELECT name FROM t WHERE id = 3").await, ["z"]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_no_other_key() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY, n integer)").await.expect("made");
    client.batch_execute("INSERT INTO t VALUES (1, 1), (2, 2)").await.expect("filled");
    // Rounded, 1.5 would be the key of a row.
    let update = "UPDATE t SET n = 0 WHERE id = $1";
    let update = client.prepare_typed(update, &[Type::FLOAT8]).await.expect("prepared");
    assert_eq!(client.execute(&update, &[&1.5_f64]).await.expect("no row"), 0);
    assert_eq!(client.execute(&update, &[&2.0_f64]).await.expect("a row"), 1);
    assert_eq!(rows(&client, "SELECT id, n FROM t ORDER BY id").await, ["1|1", "2|0"]);
    // Nothing is equal to NULL.
    let find = client.prepare("SELECT n FROM t WHERE id = $1").await.expect("prepared");
    assert!(client.query_opt(&find, &[&None::<i32>]).await.expect("no error").is_none());
    let update = client.prepare("UPDATE t SET n = $1 WHERE id = $2").await.expect("prepared");
    assert_eq!(client.execute(&update, &[&7_i32, &None::<i32>]).await.expect("no row"), 0);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_see_the_time_of_their_statement() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    let made = "CREATE TABLE t (id integer PRIMARY KEY, at timestamptz CHECK (at <= now()))";
    client.batch_execute(made).await.expect("made");
    client.batch_execute("INSERT INTO t VALUES (1, NULL)").await.expect("filled");
    let update = client.prepare("UPDATE t SET at = $1 WHERE id = 1").await.expect("prepared");
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let now = std::time::SystemTime::now() - std::time::Duration::from_millis(5);
    assert_eq!(client.execute(&update, &[&now]).await.expect("not in the future"), 1);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn single_rows_are_inserted_as_the_planner_would() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client
        .batch_execute(
            "CREATE TABLE t (id integer PRIMARY KEY, n smallint DEFAULT 5, s varchar(3) NOT NULL, at timestamp)",
        )
        .await
        .expect("made");
    let state = async |text: &str| {
        let prepared = client.prepare(text).await.expect(text);
        let error = client.execute(&prepared, &[]).await.expect_err(text);
        error.code().map(|code| code.code().to_string()).unwrap_or_default()
    };
    let insert =
        client.prepare("INSERT INTO t (id, s, at) VALUES ($1, $2, CURRENT_TIMESTAMP)").await.expect("prepared");
    assert_eq!(client.execute(&insert, &[&1_i32, &"abc"]).await.expect("inserted"), 1);
    let again = client.execute(&insert, &[&1_i32, &"abc"]).await.expect_err("twice");
    assert_eq!(again.code().map(|code| code.code()), Some("23505"));
    assert_eq!(state("INSERT INTO t (id, s) VALUES (2, 'abcd')").await, "22001");
    assert_eq!(state("INSERT INTO t (id) VALUES (2)").await, "23502");
    assert_eq!(state("INSERT INTO t (id, n, s) VALUES (2, 70000, 'a')").await, "22003");
    assert_eq!(state("INSERT INTO t (id, s) VALUES ('x', 'a')").await, "22P02");
    client.batch_execute("BEGIN READ ONLY").await.expect("open");
    assert_eq!(state("INSERT INTO t (id, s) VALUES (3, 'a')").await, "25006");
    client.batch_execute("ROLLBACK").await.expect("over");
    assert_eq!(rows(&client, "SELECT id, n, s, at > '2020-01-01' FROM t").await, ["1|5|abc|t"]);
    client.batch_execute("ALTER TABLE t ADD COLUMN more integer DEFAULT 9").await.expect("altered");
    assert_eq!(client.execute(&insert, &[&4_i32, &"d"]).await.expect("inserted"), 1);
    assert_eq!(rows(&client, "SELECT more FROM t WHERE id = 4").await, ["9"]);
    ground.end().await;
}
