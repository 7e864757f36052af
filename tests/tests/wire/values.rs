//! Values of every type, in text and in binary, there and back.

use crate::ground::{Ground, rows};
use bytes::BytesMut;
use std::error::Error;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// Bytes as they are on the wire.
#[derive(Clone, Debug, PartialEq)]
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl ToSql for Raw {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// Types, a value as text, and as PostgreSQL 15 sends it in binary.
const VALUES: &[(&str, &str, &[u8])] = &[
    ("boolean", "t", &[1]),
    ("smallint", "-32768", &[0x80, 0]),
    ("integer", "2147483647", &[0x7f, 0xff, 0xff, 0xff]),
    ("bigint", "-9223372036854775808", &[0x80, 0, 0, 0, 0, 0, 0, 0]),
    ("real", "1.5", &[0x3f, 0xc0, 0, 0]),
    ("double precision", "-0.25", &[0xbf, 0xd0, 0, 0, 0, 0, 0, 0]),
    ("decimal(10,2)", "-123.45", &[0, 2, 0, 0, 0x40, 0, 0, 2, 0, 123, 0x11, 0x94]),
    ("text", "grün", "grün".as_bytes()),
    ("varchar(10)", "ten", b"ten"),
    ("bytea", "\\x00ff41", &[0, 0xff, 0x41]),
    ("date", "2013-01-01", &[0, 0, 0x12, 0x8d]),
    ("time", "05:17:00.000001", &[0, 0, 0, 4, 0x6d, 0xae, 0x2b, 1]),
    ("timestamp", "2000-01-01 00:00:01", &[0, 0, 0, 0, 0, 0x0f, 0x42, 0x40]),
    ("timestamptz", "1999-12-31 23:59:59+00", &[0xff, 0xff, 0xff, 0xff, 0xff, 0xf0, 0xbd, 0xc0]),
    ("interval", "1 mon 2 days 00:00:03", &[0, 0, 0, 0, 0, 0x2d, 0xc6, 0xc0, 0, 0, 0, 2, 0, 0, 0, 1]),
    (
        "uuid",
        "00112233-4455-6677-8899-aabbccddeeff",
        &[0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff],
    ),
    ("json", "{\"a\": 1}", b"{\"a\": 1}"),
    (
        "integer[]",
        "{1,NULL,3}",
        &[
            0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 23, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0xff,
            0xff, 0, 0, 0, 4, 0, 0, 0, 3,
        ],
    ),
    (
        "boolean[]",
        "{t,f}",
        &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 0],
    ),
    (
        "text[]",
        "{a,\"b c\"}",
        &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, b'a', 0, 0, 0, 3, b'b', b' ', b'c'],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_type_in_text_and_binary() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    for (at, (name, text, binary)) in VALUES.iter().enumerate() {
        let table = format!("t{at}");
        client.batch_execute(&format!("CREATE TABLE {table} (id integer PRIMARY KEY, v {name})")).await.expect(name);
        // In as binary, and as text in the statement.
        let insert = client.prepare(&format!("INSERT INTO {table} VALUES ($1, $2)")).await.expect(name);
        client.execute(&insert, &[&1_i32, &Raw(binary.to_vec())]).await.unwrap_or_else(|e| panic!("{name}: {e:?}"));
        client.execute(&insert, &[&2_i32, &None::<Raw>]).await.unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let quoted = text.replace('\'', "''");
        client.batch_execute(&format!("INSERT INTO {table} VALUES (3, '{quoted}')")).await.expect(name);
        let query = format!("SELECT v FROM {table} ORDER BY id");
        assert_eq!(rows(&client, &query).await, [*text, "NULL", *text], "{name} as text");
        let found = client.query(&query, &[]).await.expect(name);
        let found: Vec<Option<Raw>> = found.iter().map(|row| row.get(0)).collect();
        let raw = Some(Raw(binary.to_vec()));
        assert_eq!(found, [raw.clone(), None, raw.clone()], "{name} as binary");
        // By its key, which goes past the planner.
        let one = client.query_one(&format!("SELECT v FROM {table} WHERE id = $1"), &[&1_i32]).await.expect(name);
        assert_eq!(one.get::<_, Option<Raw>>(0), raw, "{name} by its key");
        let (query, value) = (format!("SELECT count(*) FROM {table} WHERE v = $1"), Raw(binary.to_vec()));
        let given: [&(dyn ToSql + Sync); 1] = [&value];
        let same = client.query_one(&query, &given);
        if !matches!(*name, "json" | "integer[]" | "boolean[]" | "text[]") {
            assert_eq!(same.await.expect(name).get::<_, i64>(0), 2, "{name} compared");
        }
    }
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn types_are_described_as_they_are() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    let wanted = [
        ("uuid", Type::UUID),
        ("json", Type::JSON),
        ("jsonb", Type::JSONB),
        ("decimal(5,1)", Type::NUMERIC),
        ("bytea", Type::BYTEA),
        ("timestamptz", Type::TIMESTAMPTZ),
        ("interval", Type::INTERVAL),
        ("text[]", Type::TEXT_ARRAY),
        ("uuid[]", Type::UUID_ARRAY),
    ];
    for (at, (name, wanted)) in wanted.into_iter().enumerate() {
        client.batch_execute(&format!("CREATE TABLE d{at} (id integer PRIMARY KEY, v {name})")).await.expect(name);
        let prepared = client.prepare(&format!("SELECT v FROM d{at} WHERE id > $1")).await.expect(name);
        assert_eq!(prepared.columns()[0].type_(), &wanted, "{name}");
    }
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_value_are_refused() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    for (name, bytes) in [
        ("integer", &b"123"[..]),
        ("bigint", b"1"),
        ("decimal(10,2)", b"1.5"),
        ("uuid", b"00112233"),
        ("jsonb", b"{}"),
        ("date", b"2013-01-01"),
        ("integer[]", &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 9, 0, 0, 0, 1]),
    ] {
        let prepared = client.prepare(&format!("SELECT $1::{name}")).await.expect(name);
        let error = client.query(&prepared, &[&Raw(bytes.to_vec())]).await.err();
        // A cast of text is one of text.
        let Some(error) = error else { continue };
        let code = error.code().map(|code| code.code().to_string()).unwrap_or_default();
        assert!(code.starts_with("22"), "{name}: {error:?}");
    }
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn arrays_of_arrays_are_refused() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    let statement = client.prepare("SELECT $1::integer[]").await.expect("prepared");
    // Each level says that its element is an array of integers.
    let deep: Vec<u8> = (0..20_000)
        .rev()
        .flat_map(|level: i32| {
            let mut header = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 239, 0, 0, 0, 1, 0, 0, 0, 1];
            header.extend((level * 24).to_be_bytes());
            header
        })
        .collect();
    let error = client.query(&statement, &[&Raw(deep)]).await.expect_err("no array");
    assert_eq!(error.code().map(|code| code.code()), Some("22P03"));
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn decimals_keep_the_digits_of_their_column() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY, v decimal(30,15))").await.expect("made");
    let insert = client.prepare_typed("INSERT INTO t VALUES ($1, $2)", &[Type::INT4, Type::NUMERIC]).await;
    // 0.123456789012345 in groups of four digits.
    let digits = [0, 4, 255, 255, 0, 0, 0, 15, 4, 210, 22, 46, 35, 52, 13, 122];
    let insert = insert.expect("prepared");
    client.execute(&insert, &[&1_i32, &Raw(digits.to_vec())]).await.expect("inserted");
    assert_eq!(rows(&client, "SELECT v FROM t").await, ["0.123456789012345"]);
    ground.end().await;
}
