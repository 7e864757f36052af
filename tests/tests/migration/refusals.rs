//! What is not moved: every error has its state, says what is wrong, and what can be done.

use crate::ground::{Ground, done, refused};
use evenkeel_model::SqlState::{InvalidParameterValue, ObjectNotInPrerequisiteState, UndefinedObject};
use evenkeel_tests::{lines, run, spelled};

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_move_says_why() {
    let ground = Ground::with_rows(100).await;
    let session = ground.session();
    lines(&session, "PIN SHARD 4").await;
    for (statement, expected, hint) in [
        ("MOVE SLOTS 0 TO 9 FROM SHARD 1 TO SHARD 1", InvalidParameterValue, "from one shard to another"),
        ("MOVE SLOTS 0 TO 9 FROM SHARD 2 TO SHARD 3", ObjectNotInPrerequisiteState, "FROM SHARD 1 TO SHARD 3"),
        ("MOVE SLOTS 0 TO 3000 FROM SHARD 1 TO SHARD 3", ObjectNotInPrerequisiteState, "2048 TO 3000 FROM SHARD 2"),
        ("MOVE SLOTS 0 TO 9 FROM SHARD 1 TO SHARD 9", UndefinedObject, "there are shards 1, 2, 3 and 4"),
        ("MOVE SLOTS 0 TO 9 FROM SHARD 9 TO SHARD 1", UndefinedObject, "there are shards 1, 2, 3 and 4"),
        ("MOVE SLOTS 8192 TO 8200 FROM SHARD 1 TO SHARD 2", UndefinedObject, "0 to 8191"),
        ("MOVE SLOTS 0 TO 9 FROM SHARD 1 TO SHARD 4", ObjectNotInPrerequisiteState, "UNPIN SHARD 4"),
        ("MOVE SLOTS 6144 TO 6150 FROM SHARD 4 TO SHARD 1", ObjectNotInPrerequisiteState, "UNPIN SHARD 4"),
        ("REMOVE SHARD 4", ObjectNotInPrerequisiteState, "UNPIN SHARD 4"),
        ("SPLIT SHARD 4", ObjectNotInPrerequisiteState, "UNPIN SHARD 4"),
        ("MERGE SHARDS 1, 4", ObjectNotInPrerequisiteState, "UNPIN SHARD 4"),
        ("MERGE SHARDS 1, 1", InvalidParameterValue, "itself"),
        ("REMOVE SHARD 9", UndefinedObject, "there are shards"),
        ("VERIFY SHARD 9", UndefinedObject, "there are shards"),
        ("CANCEL JOB 9", UndefinedObject, "SHOW JOBS"),
        ("WAIT FOR JOB 9", UndefinedObject, "SHOW JOBS"),
        ("WAIT FOR JOB LAST", UndefinedObject, "REBALANCE SHARDS"),
        ("REBALANCE SHARDS WITH target_imbalance = 7", InvalidParameterValue, "0.001 … 1"),
        ("REBALANCE SHARDS WITH strategy = 'adaptve'", InvalidParameterValue, "did you mean adaptive"),
    ] {
        for statement in [statement.to_string(), format!("EXPLAIN {statement}")] {
            if statement.starts_with("EXPLAIN")
                && ["VERIFY", "CANCEL", "WAIT"].iter().any(|word| statement.contains(word))
            {
                continue;
            }
            let error = refused(&session, &statement, expected).await;
            assert!(error.hint.as_deref().unwrap_or_default().contains(hint), "{statement}\n{}", spelled(&error));
        }
    }
    assert!(lines(&session, "SHOW JOBS").await.is_empty(), "what is refused starts nothing");
    lines(&session, "UNPIN SHARD 4").await;
    let tag = run(&session, "UNPIN SHARD 4").await.expect("it is not pinned").tag;
    assert_eq!(tag, "NOTHING TO DO");
    drop(session);
    ground.end().await;
}

/// VERIFY SHARD reads every row, also of a shard whose slots come and go.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_is_verified_while_slots_move() {
    let ground = Ground::with_rows(10_000).await;
    let (session, verifier) = (ground.session(), ground.session());
    let moves = tokio::spawn(async move {
        for _ in 0..3 {
            done(&session, "MOVE SLOTS 0 TO 1000 FROM SHARD 1 TO SHARD 2").await;
            done(&session, "MOVE SLOTS 0 TO 1000 FROM SHARD 2 TO SHARD 1").await;
        }
    });
    while !moves.is_finished() {
        for shard in [1, 2] {
            lines(&verifier, &format!("VERIFY SHARD {shard}")).await;
        }
    }
    moves.await.expect("every move ends");
    drop(verifier);
    ground.end().await;
}
