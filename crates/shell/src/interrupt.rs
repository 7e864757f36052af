//! Ctrl-C, as something that can be waited for, looked at and forgotten.
//!
//! At the prompt the terminal is in raw mode and Ctrl-C is a key; while a statement runs it is a signal, and arrives here.

use std::future;

use tokio::sync::watch;

/// The receiving end of Ctrl-C.
#[derive(Clone, Debug)]
pub struct Interrupt {
    presses: watch::Receiver<u64>,
}

impl Interrupt {
    /// Takes the process's Ctrl-C over. Needs a running tokio runtime.
    pub fn from_signals() -> Self {
        let (sender, interrupt) = Self::by_hand();
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() && !sender.is_closed() {
                sender.send_modify(|presses| *presses += 1);
            }
        });
        interrupt
    }

    /// An interrupt that is raised by changing the number of presses.
    pub fn by_hand() -> (watch::Sender<u64>, Self) {
        let (sender, presses) = watch::channel(0);
        (sender, Self { presses })
    }

    /// Waits for the next press, and takes note of it.
    pub async fn pressed(&mut self) {
        if self.presses.changed().await.is_err() {
            future::pending::<()>().await;
        }
    }

    /// Whether Ctrl-C was pressed since it was last waited for or forgotten.
    pub fn is_raised(&self) -> bool {
        self.presses.has_changed().unwrap_or(false)
    }

    /// Forgets presses so far.
    pub fn forget(&mut self) {
        self.presses.mark_unchanged();
    }
}
