//! COPY from and to the client.

use crate::ground::{Ground, rows, state};
use bytes::Bytes;
use futures::{SinkExt, StreamExt, pin_mut};

async fn copy_in(
    client: &tokio_postgres::Client,
    statement: &str,
    chunks: &[&str],
) -> Result<u64, tokio_postgres::Error> {
    let sink = client.copy_in::<_, Bytes>(statement).await?;
    pin_mut!(sink);
    for chunk in chunks {
        sink.send(Bytes::from((*chunk).to_string())).await?;
    }
    sink.finish().await
}

async fn copy_out(client: &tokio_postgres::Client, statement: &str) -> String {
    let stream = client.copy_out(statement).await.expect("begun");
    pin_mut!(stream);
    let mut all = Vec::new();
    while let Some(bytes) = stream.next().await {
        all.extend_from_slice(&bytes.expect("rows"));
    }
    String::from_utf8(all).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread")]
async fn text_as_postgresql_has_it() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY, name text, at timestamptz)").await.expect("made");
    // Messages end anywhere.
    let chunks = ["1\ton", "e\t2013-01-01 05:00:00+00\n2\t", "\\N\t\\N\n3\ttab\\t and \\\\ and \"quotes\"", "\t\\N\n"];
    assert_eq!(copy_in(&client, "COPY t FROM STDIN", &chunks).await.expect("copied"), 3);
    let text = "1\tone\t2013-01-01 05:00:00+00\n2\t\\N\t\\N\n3\ttab\\t and \\\\ and \"quotes\"\t\\N\n";
    assert_eq!(copy_out(&client, "COPY (SELECT * FROM t ORDER BY id) TO STDOUT").await, text);
    client.batch_execute("DELETE FROM t").await.expect("emptied");
    assert_eq!(copy_in(&client, "COPY t FROM STDIN", &[text]).await.expect("copied"), 3);
    assert_eq!(copy_out(&client, "COPY (QUERY t ORDER BY id) TO STDOUT").await, text);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn csv_and_columns() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY, name text, n integer)").await.expect("made");
    let statement = "COPY t (name, id) FROM STDIN WITH (format csv, header true)";
    let copied = copy_in(&client, statement, &["name,id\n\"a,b\",1\n,2\n"]).await.expect("copied");
    assert_eq!(copied, 2);
    assert_eq!(rows(&client, "SELECT * FROM t ORDER BY id").await, ["1|a,b|NULL", "2|NULL|NULL"]);
    let out = copy_out(&client, "COPY (SELECT id, name FROM t ORDER BY id) TO STDOUT WITH (format csv)").await;
    assert_eq!(out, "1,\"a,b\"\n2,\n");
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_rows_and_inside_a_block() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY, name text)").await.expect("made");
    let text: String = (0..50_000).map(|id| format!("{id}\tname of {id}\n")).collect();
    let chunks: Vec<&str> = text.as_bytes().chunks(7_777).map(|c| std::str::from_utf8(c).expect("ASCII")).collect();
    assert_eq!(copy_in(&client, "COPY t FROM STDIN", &chunks).await.expect("copied"), 50_000);
    assert_eq!(rows(&client, "SELECT count(*), sum(id) FROM t").await, ["50000|1249975000"]);
    assert_eq!(copy_out(&client, "COPY t TO STDOUT").await.lines().count(), 50_000);
    client.batch_execute("BEGIN").await.expect("open");
    assert_eq!(copy_in(&client, "COPY t FROM STDIN", &["50000\tx\n"]).await.expect("copied"), 1);
    client.batch_execute("ROLLBACK").await.expect("over");
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["50000"]);
    ground.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_leaves_nothing() {
    let ground = Ground::new().await;
    let client = ground.client().await;
    client.batch_execute("CREATE TABLE t (id integer PRIMARY KEY, name text)").await.expect("made");
    let wrong = copy_in(&client, "COPY t FROM STDIN", &["1\tone\n", "two\ttwo\n", "3\tthree\n"]).await;
    assert_eq!(wrong.expect_err("no number").code().map(|code| code.code()), Some("22P02"));
    let twice = copy_in(&client, "COPY t FROM STDIN", &["1\tone\n1\tone\n"]).await;
    assert_eq!(twice.expect_err("twice").code().map(|code| code.code()), Some("23505"));
    // What is wrong with the statement itself is said before any row is asked for, or promised.
    let wrong = client.copy_out("COPY (SELECT missing FROM t) TO STDOUT").await.err().expect("no such column");
    assert_eq!(wrong.code().map(|code| code.code()), Some("42703"));
    assert_eq!(state(&client, "COPY nowhere FROM STDIN").await, "42P01");
    assert_eq!(state(&client, "COPY t (missing) FROM STDIN").await, "42703");
    {
        // Dropped before it is finished: the client says that it fails.
        let sink = client.copy_in::<_, Bytes>("COPY t FROM STDIN").await.expect("begun");
        pin_mut!(sink);
        sink.send(Bytes::from_static(b"1\tone\n")).await.expect("sent");
    }
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["0"]);
    ground.end().await;
}
