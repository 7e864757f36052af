//! Updates of one row that are prepared once: each is a statement of its session like any other.

use evenkeel_engine::ScalarValue;
use evenkeel_model::SqlState;
use evenkeel_tests::{Temporary, lines};

const UPDATE: &str = "UPDATE accounts SET balance = balance + 5 WHERE id = $1";

async fn accounts() -> Temporary {
    let database = Temporary::new(4);
    let session = database.session();
    lines(&session, "CREATE TABLE accounts (id integer PRIMARY KEY, balance integer NOT NULL CHECK (balance < 1000))")
        .await;
    lines(&session, "INSERT INTO accounts SELECT n, 100 FROM generate_series(1, 20) AS g(n)").await;
    database
}

fn id(id: i32) -> [ScalarValue; 1] {
    [ScalarValue::Int32(Some(id))]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_update_does_what_its_text_does() {
    let database = accounts().await;
    let (session, other) = (database.session(), database.session());
    let update = session.prepare_update(UPDATE).unwrap();
    assert_eq!((update.execute(&id(3)).await.unwrap(), update.execute(&id(99)).await.unwrap()), (1, 0));
    assert_eq!(lines(&other, "SELECT balance FROM accounts WHERE id = 3").await, ["105"]);

    lines(&session, "BEGIN").await;
    update.execute(&id(3)).await.unwrap();
    assert_eq!(lines(&session, "SELECT balance FROM accounts WHERE id = 3").await, ["110"]);
    assert_eq!(lines(&other, "SELECT balance FROM accounts WHERE id = 3").await, ["105"]);
    lines(&session, "ROLLBACK").await;

    lines(&session, "BEGIN READ ONLY").await;
    assert_eq!(update.execute(&id(3)).await.unwrap_err().state, SqlState::ReadOnly);
    assert_eq!(update.execute(&id(3)).await.unwrap_err().state, SqlState::InFailedTransaction);
    lines(&session, "ROLLBACK").await;
    assert_eq!(update.execute(&[]).await.unwrap_err().state, SqlState::UndefinedParameter);

    lines(&other, "UPDATE accounts SET balance = 998 WHERE id = 3").await;
    assert_eq!(update.execute(&id(3)).await.unwrap_err().state, SqlState::CheckViolation);
    assert_eq!(lines(&other, "SELECT balance FROM accounts WHERE id = 3").await, ["998"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_update_follows_changes_of_its_table() {
    let database = accounts().await;
    let session = database.session();
    let update = session.prepare_update(UPDATE).unwrap();
    lines(&session, "ALTER TABLE accounts ADD COLUMN note text DEFAULT 'new'").await;
    update.execute(&id(1)).await.unwrap();
    assert_eq!(lines(&session, "SELECT balance, note FROM accounts WHERE id = 1").await, ["105|new"]);
    lines(&session, "DROP TABLE accounts").await;
    assert_eq!(update.execute(&id(1)).await.unwrap_err().state, SqlState::UndefinedTable);
    for other in ["SELECT 1", "UPDATE accounts SET balance = 1", "UPDATE nowhere SET a = 1 WHERE b = $1"] {
        assert!(session.prepare_update(other).is_err(), "{other}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_updates_of_one_row_lose_none() {
    let database = accounts().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let session = database.session();
        tasks.spawn(async move {
            let update = session.prepare_update("UPDATE accounts SET balance = balance + 1 WHERE id = $1").unwrap();
            for round in 0..40 {
                assert_eq!(update.execute(&id(1 + round % 2)).await.unwrap(), 1);
            }
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let session = database.session();
    assert_eq!(lines(&session, "SELECT balance FROM accounts WHERE id <= 2 ORDER BY id").await, ["260", "260"]);
}
