//! Files that other programs start it by.

use crate::ground::Place;
use std::process::{Command, Stdio};

#[test]
fn the_example_serves() {
    let place = Place::new();
    let example = place.run(&["generate", "config"], &[]).out;
    place.write("evenkeel.toml", &example);
    let check = place.run(&["config", "check"], &[]);
    assert_eq!((check.code, check.out.as_str()), (Some(0), "evenkeel.toml is right\n"), "{check:?}");
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let there = Command::new("systemd-analyze").arg("--version").stdout(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        eprintln!("systemd-analyze is not here: nothing was verified");
        return;
    }
    let place = Place::new();
    let unit = place.run(&["generate", "systemd"], &[]).out;
    place.write("evenkeel.service", &unit.replace("/usr/bin/evenkeel", env!("CARGO_BIN_EXE_evenkeel")));
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(place.path("evenkeel.service"))
        .output()
        .expect("systemd-analyze");
    let said = String::from_utf8_lossy(&verified.stderr);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("evenkeel.service")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

#[test]
fn every_command_has_a_page() {
    let place = Place::new();
    let ended = place.run(&["generate", "man", "--dir", "man1"], &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for page in ["evenkeel.1", "evenkeel-serve.1", "evenkeel-config-show.1", "evenkeel-health.1"] {
        assert!(place.path("man1").join(page).exists(), "{page}");
    }
    let show = place.run(&["generate", "man", "config", "show"], &[]);
    assert!(show.out.contains(".TH evenkeel-config-show 1"), "{}", show.out);
}
