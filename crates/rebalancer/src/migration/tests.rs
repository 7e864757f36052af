use super::*;
use evenkeel_model::{Slot, SlotBits};

const SOURCE: ShardId = ShardId(1);
const TARGET: ShardId = ShardId(2);
const CUTOVER: Timestamp = Timestamp(100);
const TALLY: Tally = Tally { rows: 3, bytes: 90, digest: 7 };

fn planned(id: u64, source: ShardId, target: ShardId) -> Migration {
    Migration::new(MigrationId(id), JobId(1), source, target, SlotSet::range(Slot(2), Slot(3)))
}

fn fresh() -> Migration {
    planned(1, SOURCE, TARGET)
}

fn map(epoch: u64, holder: Holder) -> Observed {
    Observed::Map { epoch: Epoch(epoch), holder }
}

/// What leads on from a phase, when all goes well.
fn well(migration: &Migration) -> Option<Observed> {
    let epoch = migration.epoch.0;
    match migration.phase {
        Phase::Planned => Some(map(4, Holder::Source)),
        Phase::Copying => Some(Observed::Copied),
        Phase::CatchingUp => Some(Observed::CaughtUp { epoch: Epoch(epoch + 1) }),
        Phase::Sealing => Some(Observed::Sealed { cutover: CUTOVER, source: TALLY, target: TALLY }),
        Phase::Switching => Some(map(epoch + 1, Holder::Target)),
        Phase::Reclaiming => Some(map(epoch + 1, Holder::Source)),
        Phase::Unsealing | Phase::Activating | Phase::Dropping | Phase::Undoing => Some(Observed::Told),
        Phase::Verifying => Some(Observed::Compared { source: TALLY, target: TALLY }),
        Phase::Done | Phase::Undone | Phase::VerificationFailed => None,
    }
}

/// The record at every step to its end, itself first.
fn life(first: Migration) -> Vec<Migration> {
    std::iter::successors(Some(first), |migration| well(migration).map(|seen| migration.next(&seen))).collect()
}

fn phases(life: &[Migration]) -> Vec<Phase> {
    life.iter().map(|migration| migration.phase).collect()
}

#[test]
fn all_goes_well() {
    use Phase::*;
    let life = life(fresh());
    let expected = [Planned, Copying, CatchingUp, Sealing, Switching, Activating, Verifying, Dropping, Done];
    assert_eq!(phases(&life), expected);
    assert!(life.windows(2).all(|pair| pair[0].step + 1 == pair[1].step));
    let done = life.last().expect("has begun");
    assert_eq!((done.since, done.epoch, done.cutover, done.cutover_attempts), (Epoch(4), Epoch(6), Some(CUTOVER), 1));
}

#[test]
fn a_phase_is_over_exactly_if_it_wants_nothing() {
    for phase in Phase::ALL {
        let migration = Migration { phase, cutover: Some(CUTOVER), ..fresh() };
        assert_eq!(migration.command().is_none(), phase.is_over(), "{phase:?}");
        assert_eq!(migration.command(), migration.clone().command());
    }
}

#[test]
fn cancelling_and_failing_turn_back_until_the_point_of_no_return() {
    for before in life(fresh()) {
        let (cancelled, failed) = (before.cancel(), before.next(&Observed::Failed("disk full".into())));
        assert_eq!(cancelled.phase, failed.phase);
        match before.phase {
            Phase::Planned => assert_eq!(phases(&life(cancelled)), [Phase::Undone]),
            phase if phase.is_past_no_return() => assert_eq!((&cancelled, &failed), (&before, &before)),
            _ => {
                assert_eq!(phases(&life(cancelled)), [Phase::Reclaiming, Phase::Undoing, Phase::Undone]);
                assert_eq!(failed.reason, Some(Reason::Failed("disk full".into())));
            }
        }
    }
}

#[test]
fn what_is_late_or_of_another_phase_leaves_the_record_as_it_is() {
    let observations: Vec<_> = life(fresh()).iter().filter_map(well).collect();
    // A planned one learns from every map; the others only from what they wait for.
    for migration in &life(fresh())[1..] {
        let leading = well(migration);
        for seen in observations.iter().filter(|seen| Some(*seen) != leading.as_ref()) {
            let next = migration.next(seen);
            let repeated = leading.as_ref().is_some_and(|leading| migration.next(leading).phase == next.phase);
            assert!(next == *migration || repeated, "{seen:?} led from {:?} to {:?}", migration.phase, next.phase);
        }
    }
}

#[test]
fn a_switch_whose_epoch_is_gone_is_tried_from_the_new_one() {
    let switching = life(fresh())[4].clone();
    assert_eq!(switching.next(&map(switching.epoch.0, Holder::Source)), switching);
    let again = switching.next(&map(9, Holder::Source));
    assert_eq!((again.phase, again.epoch, again.step), (Phase::Switching, Epoch(9), switching.step + 1));
    assert_eq!(again.next(&map(10, Holder::Target)).phase, Phase::Activating);
}

#[test]
fn cancelled_while_the_switch_had_landed_it_goes_on() {
    let reclaiming = life(fresh())[4].cancel();
    let forward = reclaiming.next(&map(8, Holder::Target));
    assert_eq!(
        (forward.phase, forward.epoch, &forward.reason),
        (Phase::Activating, Epoch(8), &Some(Reason::Cancelled))
    );
}

#[test]
fn a_cutover_that_would_be_long_is_put_off() {
    let sealing = life(fresh())[3].clone();
    let again = life(sealing.next(&Observed::TooSlow));
    assert_eq!(phases(&again)[..3], [Phase::Unsealing, Phase::CatchingUp, Phase::Sealing]);
    assert_eq!(again[2].cutover_attempts, 2);
}

#[test]
fn copies_that_differ_are_never_switched_to_and_never_dropped() {
    let other = Tally { digest: 8, ..TALLY };
    let sealing = life(fresh())[3].clone();
    let turned = sealing.next(&Observed::Sealed { cutover: CUTOVER, source: TALLY, target: other });
    assert_eq!((turned.phase, turned.cutover), (Phase::Reclaiming, None));
    let verifying = life(fresh())[6].clone();
    let failed = verifying.next(&Observed::Compared { source: TALLY, target: other });
    assert_eq!((failed.phase, failed.command()), (Phase::VerificationFailed, None));
    assert!(failed.reason.is_some());
}

#[test]
fn the_cutover_is_kept_readable_until_the_copies_were_compared() {
    let kept: Vec<_> = life(fresh()).iter().map(|migration| migration.keeps_readable().is_some()).collect();
    assert_eq!(kept, [false, false, false, false, true, true, true, true, false]);
}

#[test]
fn the_slot_map_is_read_and_changed_at_one_epoch_only() {
    let map = SlotMap::even(SlotBits::new(3).expect("in range"), &[SOURCE, TARGET]);
    let migration = fresh();
    assert_eq!(migration.read(&map), self::map(1, Holder::Source));
    let (slots, expected) = (migration.slots.clone(), Epoch(1));
    let switch = MapChange::Switch { expected, slots, source: SOURCE, target: TARGET };
    let switched = switch.apply(&map).expect("its epoch");
    assert_eq!(migration.read(&switched), self::map(2, Holder::Target));
    assert_eq!((switch.apply(&switched), switch.apply(&map.bumped())), (None, None));
    let reclaim = MapChange::Reclaim { expected };
    assert_eq!(reclaim.apply(&map), Some(map.bumped()));
    assert_eq!(reclaim.apply(&switched), None);
}

/// What a record tells one of its shards.
fn told(migration: &Migration, shard: ShardId) -> Vec<ShardCommand> {
    let is_source = shard == migration.source;
    match migration.command() {
        Some(Command::Copy { outgoing, incoming }) => vec![if is_source { outgoing } else { incoming }],
        Some(Command::Seal { stamp, slots }) if is_source => {
            vec![ShardCommand { stamp, slots, order: Order::Seal { cutover: CUTOVER } }]
        }
        Some(Command::Tell(told)) => told.into_iter().filter(|(to, _)| *to == shard).map(|(_, order)| order).collect(),
        _ => vec![],
    }
}

/// The records of a migration that was cancelled while switching.
fn undone(migration: Migration) -> Vec<Migration> {
    let mut whole = life(migration);
    whole.truncate(5);
    let cancelled = whole[4].cancel();
    whole.extend(life(cancelled));
    whole
}

/// A shard's ownership once it has obeyed all of these.
fn obeyed(ownership: Ownership, commands: &[ShardCommand]) -> Ownership {
    commands.iter().fold(ownership, |ownership, command| ownership.accept(command).expect("in time").ownership)
}

fn assert_changes_nothing(ownership: &Ownership, late: &ShardCommand) {
    match ownership.accept(late) {
        Ok(accepted) => assert_eq!(accepted, Accepted { ownership: ownership.clone(), effect: None }),
        Err(refusal) => assert!(refusal.is_stale(), "{late:?}: {refusal}"),
    }
    assert!(ownership.may_receive(&late.stamp).is_err());
}

/// Whatever a migration that is over has ever said changes nothing, whichever migration has the slots since.
#[test]
fn late_commands_of_one_migration_change_nothing_in_the_next() {
    for first in [life(fresh()), undone(fresh())] {
        let is_done = first.last().expect("has begun").phase == Phase::Done;
        let (owner, other) = if is_done { (TARGET, SOURCE) } else { (SOURCE, TARGET) };
        let begun = planned(2, owner, other).next(&map(20, Holder::Source));
        for second in [life(begun.clone()), undone(begun)] {
            for (shard, owned) in [(SOURCE, (0, 3)), (TARGET, (4, 7))] {
                let late: Vec<_> = first.iter().flat_map(|record| told(record, shard)).collect();
                let owned = SlotSet::range(Slot(owned.0), Slot(owned.1));
                let mut ownership = obeyed(Ownership::new(owned, Epoch(1)), &late);
                for record in &second {
                    late.iter().for_each(|late| assert_changes_nothing(&ownership, late));
                    ownership = obeyed(ownership, &told(record, shard));
                }
            }
        }
    }
}

#[test]
fn a_scan_is_served_as_its_least_willing_slot_is() {
    let (migration, sealing) = (fresh(), life(fresh())[3].clone());
    let mut ownership = Ownership::new(SlotSet::range(Slot(0), Slot(3)), Epoch(1));
    for record in life(migration)[..4].iter() {
        for command in told(record, SOURCE) {
            ownership = ownership.accept(&command).expect("in time").ownership;
        }
    }
    let range = |first, last| SlotSet::range(Slot(first), Slot(last));
    let (before, after) = (CUTOVER, CUTOVER.next());
    assert_eq!(sealing.phase, Phase::Sealing);
    for (slots, at, expected) in [
        (range(0, 3), before, Access::Granted),
        (range(0, 1), after, Access::Granted),
        (range(0, 2), after, Access::Wait),
        (range(2, 4), before, Access::Moved),
        (SlotSet::new(), after, Access::Granted),
    ] {
        assert_eq!(ownership.may_scan(&slots, at), expected, "{slots} at {at}");
        let worst = slots.iter().map(|slot| ownership.may_read(slot, at)).max();
        assert_eq!(worst.unwrap_or(Access::Granted), expected);
    }
    assert_eq!((ownership.may_write(Slot(0)), ownership.may_write(Slot(2))), (Access::Granted, Access::Wait));
}

#[test]
fn shards_refuse_what_would_cost_rows() {
    let owner = Ownership::new(SlotSet::range(Slot(0), Slot(3)), Epoch(1));
    let copying = life(fresh())[1].clone();
    let [outgoing, incoming] = [SOURCE, TARGET].map(|shard| told(&copying, shard).remove(0));
    assert_eq!(owner.accept(&incoming), Err(Refusal::AlreadyOwner));
    assert_eq!(Ownership::default().accept(&outgoing), Err(Refusal::NotOwner));
    let busy = owner.accept(&outgoing).expect("it owns them").ownership;
    let drop = ShardCommand { order: Order::Drop { epoch: Epoch(9) }, ..outgoing.clone() };
    assert_eq!(busy.accept(&drop), Err(Refusal::WrongPart(Part::Outgoing)));
    assert_eq!(owner.accept(&drop), Err(Refusal::NoRole));
    let other = life(Migration { id: MigrationId(2), ..fresh() })[1].clone();
    assert_eq!(busy.accept(&told(&other, SOURCE)[0]), Err(Refusal::Busy { migration: MigrationId(1) }));
}
