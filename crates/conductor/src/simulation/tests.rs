//! The seeds of every run of the tests, one seed line by line, and the mistakes.

use super::history::{History, Invariant};
use super::mistakes::{Mistake, plant};
use super::run::run;

/// How many seeds every run of the tests goes through.
const SEEDS: u64 = 1_000;
/// In so many parts, which run beside one another.
const PARTS: u64 = 8;
/// A part says how far it is after so many.
const PROGRESS_EVERY: usize = 1_000;
/// A mistake is found in so many, or it is not found.
const MISTAKEN_SEEDS: u64 = 400;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Whether one seed is asked for: then nothing else is run.
fn replays() -> bool {
    number("EVENKEEL_SEED").is_some()
}

/// One part of the seeds. The first that fails is run again, and tells.
fn part(nth: u64) {
    if replays() {
        return;
    }
    let seeds = number("EVENKEEL_SEEDS").unwrap_or(SEEDS);
    let (mut jobs, mut crashes, mut given_up, mut steps) = (0, 0, 0, 0);
    for (done, seed) in (nth..seeds).step_by(PARTS as usize).enumerate() {
        let report = run(seed, History::silent());
        (jobs, crashes, steps) = (jobs + report.jobs, crashes + report.crashes, steps + report.steps);
        given_up += report.given_up;
        if report.violation.is_some() {
            tell(seed);
        }
        if (done + 1).is_multiple_of(PROGRESS_EVERY) {
            eprintln!("part {}: {} of {} seeds", nth + 1, done + 1, (seeds - nth).div_ceil(PARTS));
        }
    }
    eprintln!("part {}: {jobs} jobs, {crashes} crashes, {given_up} migrations given up, {steps} steps", nth + 1);
    assert!(seeds < SEEDS || given_up > 0, "nothing ever got nowhere: that path has no proof");
}

fn tell(seed: u64) -> ! {
    let report = run(seed, History::last_lines());
    let violation = report.violation.expect("a seed fails for ever");
    panic!(
        "seed {seed} breaks {}: {}\n\n{}\nfrom its beginning: EVENKEEL_SEED={seed} make simulate",
        violation.invariant.name(),
        violation.what,
        report.history,
    );
}

macro_rules! parts {
    ($($name:ident: $nth:literal;)*) => {
        $(#[test] fn $name() { part($nth); })*
    };
}

parts! {
    seeds_part_1: 0;
    seeds_part_2: 1;
    seeds_part_3: 2;
    seeds_part_4: 3;
    seeds_part_5: 4;
    seeds_part_6: 5;
    seeds_part_7: 6;
    seeds_part_8: 7;
}

/// The seed that is asked for, with the mistake that is, line by line.
#[test]
fn replay() {
    let Some(seed) = number("EVENKEEL_SEED") else { return };
    let name = std::env::var("EVENKEEL_MISTAKE").ok();
    let named =
        |name: String| Mistake::ALL.into_iter().find(|mistake| format!("{mistake:?}") == name).expect("a mistake");
    plant(name.map(named));
    let report = run(seed, History::whole());
    eprintln!("{}", report.history);
    assert!(report.violation.is_none(), "seed {seed}: {:?}", report.violation);
}

#[test]
fn a_seed_is_always_the_same_story() {
    for seed in [3, 7, 11] {
        let [one, other] = [(); 2].map(|()| run(seed, History::whole()).history);
        assert!(one.lines().count() > 100 && one == other, "seed {seed} has two stories");
    }
}

/// Plants a mistake and expects it to be found.
fn found(mistake: Mistake, expected: &[Invariant]) {
    if replays() {
        return;
    }
    plant(Some(mistake));
    let find = (0..MISTAKEN_SEEDS).find_map(|seed| Some((seed, run(seed, History::silent()).violation?)));
    let (seed, violation) = find.unwrap_or_else(|| panic!("{mistake:?} was not found in {MISTAKEN_SEEDS} seeds"));
    eprintln!("{mistake:?} breaks {}: EVENKEEL_SEED={seed} EVENKEEL_MISTAKE={mistake:?}", violation.invariant.name());
    assert!(expected.contains(&violation.invariant), "{mistake:?}, seed {seed}: {violation:?}");
}

macro_rules! planted {
    ($($name:ident: $mistake:ident breaks $($invariant:ident)|+;)*) => {
        $(#[test] fn $name() { found(Mistake::$mistake, &[$(Invariant::$invariant),+]); })*

        #[test]
        fn every_mistake_is_planted() {
            let planted = [$(Mistake::$mistake),*];
            assert!(planted.len() >= 15 && planted.len() == Mistake::ALL.len(), "{} of {}", planted.len(), Mistake::ALL.len());
        }
    };
}

planted! {
    act_before_kept: ActBeforeKept breaks OneOwner | Terminal;
    shown_before_kept: ShownBeforeKept breaks Terminal;
    undo_without_epoch: UndoWithoutEpoch breaks OneOwner | Undisturbed;
    timestamp_before_hold: TimestampBeforeHold breaks NoStaleRead;
    hold_without_waiting: HoldWithoutWaiting breaks AckedIsDurable | NoStaleRead | ExactlyOnceVisible | SnapshotIsolation;
    activate_before_switch: ActivateBeforeSwitch breaks OneOwner;
    open_before_activate: OpenBeforeActivate breaks Undisturbed;
    loads_while_sealed: LoadsWhileSealed breaks AckedIsDurable | ExactlyOnceVisible | NoStaleRead;
    drop_before_verify: DropBeforeVerify breaks VerifiedBeforeDrop;
    drop_wrong_side: DropWrongSide breaks Terminal;
    drop_under_readers: DropUnderReaders breaks ExactlyOnceVisible;
    forget_before_stored: ForgetBeforeStored breaks AckedIsDurable | CountersExact;
    two_at_one_shard: TwoAtOneShard breaks WithinLimits;
    moves_overtake: MovesOvertake breaks InOrder;
    pins_ignored: PinsIgnored breaks PinnedStays;
    job_ends_early: JobEndsEarly breaks Terminal;
    target_not_listed: TargetNotListed breaks Terminal | OneOwner | AckedIsDurable | NoPanic;
    no_fence: NoFence breaks NoStaleRead;
    stale_step_accepted: StaleStepAccepted breaks StaleEpochRefused;
    stale_epoch_accepted: StaleEpochAccepted breaks StaleEpochRefused;
    copy_skips_deletions: CopySkipsDeletions breaks NoResurrection | CountersExact;
    copy_skips_history: CopySkipsHistory breaks NoStaleRead;
    retry_without_recount: RetryWithoutRecount breaks CountersExact;
    rows_counted_twice: RowsCountedTwice breaks CountersExact;
    commits_not_settled: CommitsNotSettled breaks Terminal | CountersExact;
}
