//! Small disks and the process that fills them.
//!
//! Where the tests may mount (as root), a disk is a tmpfs of a few megabytes, unmounted when it goes out of scope. Where
//! they may not, a limit on the size of files takes its place, and tests that need a disk of their own say so and pass.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// A file system of its own.
pub struct Disk {
    home: TempDir,
}

impl Disk {
    /// A disk of so many megabytes; `None` where the tests may not mount one.
    pub fn new(megabytes: u32) -> Option<Self> {
        let home = tempfile::tempdir().expect("a temporary directory");
        let size = format!("size={megabytes}m");
        let mounted = mount(&["-t", "tmpfs", "-o", &size, "tmpfs"], home.path());
        if !mounted {
            eprintln!("no disk of our own: mounting is not permitted here");
        }
        mounted.then_some(Self { home })
    }

    /// Where the database goes: not the root of the disk, which a test cannot remove.
    pub fn directory(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Fills the disk up to so many bytes; the file that does.
    pub fn ballast(&self, room_bytes: u64) -> PathBuf {
        let path = self.home.path().join("ballast");
        let mut file = File::create(&path).expect("a file");
        let chunk = vec![0; 64 << 10];
        while file.write_all(&chunk).is_ok() {}
        let bytes = file.metadata().expect("its size").len();
        file.set_len(bytes.checked_sub(room_bytes).expect("that much can be given back")).expect("a shorter file");
        path
    }

    /// Makes the disk larger, or read-only.
    pub fn remount(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}")], self.home.path()), "remount with {options}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.home.path()).status().is_ok_and(|status| status.success());
        if !unmounted {
            // Somebody still has a file open: it goes when they do.
            let _ = Command::new("umount").arg("--lazy").arg(self.home.path()).status();
        }
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let status = Command::new("mount").args(arguments).arg(at).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// The process that fills a disk, and does not outlive its test.
pub struct Filler {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Filler {
    /// Starts it, with files limited to so many blocks of `ulimit -f` where a limit is given.
    pub fn start(directory: &Path, what: &[&str], blocks: Option<u32>) -> Self {
        let program = env!("CARGO_BIN_EXE_disk");
        let mut command = match blocks {
            None => Command::new(program),
            Some(blocks) => {
                let mut shell = Command::new("sh");
                // Beyond the limit a write fails; without the trap the process would be ended by a signal.
                shell.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")).arg(program);
                shell
            }
        };
        command.arg(directory).args(what).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the filler starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, lines }
    }

    /// The next thing it says.
    pub fn line(&mut self) -> Option<String> {
        self.lines.next().map(|line| line.expect("text"))
    }

    /// Whether it ends well by itself, once its input has ended.
    pub fn ended_well(mut self) -> bool {
        drop(self.child.stdin.take());
        self.child.wait().is_ok_and(|status| status.success())
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
