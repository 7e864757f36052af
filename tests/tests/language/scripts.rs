//! The scripts of `tests/slt`, in the format of sqllogictest: see [`crate::connection`].

use crate::connection::{folder, wrong};
use evenkeel_tests::Temporary;
use std::collections::BTreeSet;

async fn check(script: &str, shards: u32) {
    let wrong = wrong(script, &Temporary::new(shards)).await;
    let count = wrong.len();
    assert!(wrong.is_empty(), "{count} wrong over {shards} shards:\n{}", wrong.join("\n"));
}

macro_rules! scripts {
    ($($name:ident)*) => {
        const SCRIPTS: &[&str] = &[$(stringify!($name)),*];
        $(mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn one_shard() {
                super::check(stringify!($name), 1).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn four_shards() {
                super::check(stringify!($name), 4).await;
            }
        })*
    };
}

scripts! {
    aggregates
    alter
    as_of
    catalog
    constraints
    expressions
    failures
    functions
    joins
    pipelines
    queries
    schema
    settings
    subqueries
    transactions
    types
    users
    windows
    writing
}

#[test]
fn every_script_is_run() {
    let files = std::fs::read_dir(folder()).expect("the folder of scripts");
    let files: BTreeSet<String> = files
        .map(|file| file.expect("a file").path())
        .filter_map(|path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()))
        .collect();
    assert_eq!(files, SCRIPTS.iter().map(ToString::to_string).collect());
}
