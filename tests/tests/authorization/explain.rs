//! A view shares a part of a table: how it is read must not say how large the rest is.

use crate::world::World;
use evenkeel_tests::{lines, run};

async fn explained(world: &World, who: char, statement: &str) -> String {
    let answered = run(&world.session(who), statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
    let rows = answered.rows().into_iter().flatten().flatten();
    answered.notices.iter().cloned().chain(rows).collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_view_nothing_is_measured_that_it_leaves_out() {
    let world = World::new().await;
    for statement in [
        // 4,321 rows, of which the view shows one; and a view that says how many there are without saying so.
        "INSERT INTO t SELECT n, 2 FROM generate_series(3, 4321) AS g(n)",
        "CREATE VIEW few AS SELECT id FROM w",
        "CREATE VIEW whole AS SELECT id FROM t WHERE v = 1 AND (SELECT count(*) FROM t) > 5",
        "GRANT SELECT ON few TO stan",
        "GRANT SELECT ON whole TO stan",
        "GRANT SELECT ON whole TO rita",
    ] {
        lines(&world.built_in, statement).await;
    }
    for query in ["QUERY w", "SELECT count(*) FROM few", "QUERY whole", "WITH x AS (QUERY w) SELECT * FROM x"] {
        for how in ["EXPLAIN", "EXPLAIN VERBOSE", "EXPLAIN ANALYZE", "EXPLAIN ANALYZE VERBOSE"] {
            let told = explained(&world, 'S', &format!("{how} {query}")).await;
            assert!(!told.contains("4321") && !told.contains("output_rows"), "{how} {query}\n{told}");
            assert!(told.contains("stan may not read"), "{how} {query}\n{told}");
            assert_eq!(told.contains(" rows in "), how.contains("ANALYZE"), "{how} {query}\n{told}");
        }
    }
    // Who may read the table itself is told everything, and so is its owner.
    for who in ['R', 'W', 'A', 'E'] {
        let query = if who == 'R' { "QUERY whole" } else { "QUERY w" };
        let told = explained(&world, who, &format!("EXPLAIN ANALYZE {query}")).await;
        let counted = told.contains("4.32 K") || told.contains("4321");
        assert!(counted && told.contains("output_rows"), "{who}\n{told}");
    }
    world.end().await;
}
