#![allow(dead_code, unused, clippy::print_stdout)]
#[path = "../../../benches/src/figures.rs"]
mod figures;
#[path = "../../../benches/src/random.rs"]
mod random;
mod bench {
    pub fn say_run(run: usize, what: &str) {
        eprintln!("  run {}: {what}", run + 1);
    }
}
mod rebalance {
    #[path = "/tmp/wt/plan/benches/src/rebalance/finding.rs"]
    pub mod finding;
    #[path = "/tmp/plan_tmp.rs"]
    pub mod plan;
    pub mod load {
        #[derive(Clone, Debug)]
        pub struct Window;
    }
    #[derive(Clone, Copy, Debug)]
    pub enum Work {
        Plan,
    }
    pub struct Sizes {
        pub planned: (usize, usize),
        pub planned_besides: &'static [(usize, usize)],
        pub runs: usize,
    }
    pub struct Bench {
        pub sizes: Sizes,
    }
}
mod anyhow {
    pub use ::std::result::Result as R;
    pub type Result<T> = std::result::Result<T, String>;
    macro_rules! ensure {
        ($c:expr, $m:expr) => {
            if !$c {
                return Err($m.to_string());
            }
        };
    }
    pub(crate) use ensure;
}
fn main() {
    let sizes = rebalance::Sizes {
        planned: (10_000, 65_536),
        planned_besides: &[(10_000, 8_192), (10_000, 16_384), (10_000, 65_536), (10_000, 1_048_576), (1_000, 65_536)],
        runs: 3,
    };
    let o = rebalance::plan::measure(&rebalance::Bench { sizes }).unwrap();
    for f in &o.findings {
        println!("{:<40} {:<40} {:<12} {}", f.what, f.text(), f.target_text(), f.met_text());
    }
    for n in &o.notes {
        println!("{n}");
    }
}
