//! Temporary.
use evenkeel_benches::{Options, run};
use std::path::PathBuf;
fn main() {
    let mut options = Options { runs: 2, ..Options::default() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--memory-child" => options.memory_child = args.next().map(PathBuf::from),
            "--json" => options.json = args.next().map(PathBuf::from),
            "bench" => {}
            name => options.only.push(name.to_string()),
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("runtime");
    match runtime.block_on(run(options)) {
        Ok(code) => std::process::exit(code),
        Err(error) => {
            eprintln!("ERROR: {error:#}");
            std::process::exit(2)
        }
    }
}
