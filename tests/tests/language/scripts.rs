//! The scripts of `tests/slt`, in the format of sqllogictest: see [`crate::connection`].

use crate::connection::{every_script, wrong};
use evenkeel_tests::Temporary;

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

every_script!(scripts);

#[test]
fn every_script_is_run() {
    assert_eq!(crate::connection::scripts(), SCRIPTS.iter().map(ToString::to_string).collect());
}
