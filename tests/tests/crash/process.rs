//! A bank's process: starting it, hearing what it says, ending it with SIGKILL.

use crate::bank::Bank;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const SIGKILL: i32 = 9;
/// Nothing that a bank is waited for takes longer; a bank that hangs is not hidden by its kill.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A bank's process, which does not outlive its test.
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    run: i64,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many crashes there are to be in all.
pub fn crashes_wanted(otherwise: u64) -> u64 {
    std::env::var("EVENKEEL_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Starts the bank. What it is told beyond the usual stands in `src/bin/bank.rs`.
pub fn start(bank: &Bank, run: i64, seed: u64, durability: &str, more: &[&str]) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bank"))
        .arg(bank.directory())
        .args([run.to_string(), seed.to_string(), durability.to_string()])
        .arg(bank.file())
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the bank starts");
    let output = BufReader::new(child.stdout.take().expect("its output"));
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        // A line that the kill cut off was never said.
        let mut output = output;
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
            if sender.send(line.trim_end().to_string()).is_err() {
                return;
            }
            line.clear();
        }
    });
    Running { child, lines, run }
}

impl Running {
    /// Listens until a moment, or for so many lines; whether the bank still runs.
    pub fn listen(&self, bank: &mut Bank, until: Instant, mut lines: u32) -> bool {
        while lines > 0 {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    bank.heard(self.run, &line);
                    lines -= 1;
                }
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        true
    }

    /// Kills it, and hears what it had said until then.
    pub fn kill(mut self, bank: &mut Bank) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("the bank is gone");
        while let Ok(line) = self.lines.recv() {
            bank.heard(self.run, &line);
        }
    }

    /// Listens until it has killed itself.
    pub fn dies(mut self, bank: &mut Bank) {
        let alive = self.listen(bank, Instant::now() + PATIENCE, u32::MAX);
        assert!(!alive, "the bank never came to where it was to end");
        let ended = self.child.wait().expect("the bank is gone");
        assert_eq!(ended.signal(), Some(SIGKILL), "the bank ended by itself: {ended}");
    }
}

/// Says the seed when a test fails.
pub struct Seed(pub u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {}", self.0);
        }
    }
}
