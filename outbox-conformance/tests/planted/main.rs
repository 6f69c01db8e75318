//! The suite is proved: bugs are planted, one at a time, and a promise must name each.
//!
//! The parts without a bug pass the whole suite, so that it is the bug that is caught.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod between;
mod bug;
mod bus;
mod fake;
mod inbox;
mod source;

use std::panic::{AssertUnwindSafe, catch_unwind};

use self::{bug::Bug, bus::Slow, fake::Fake, inbox::Marking, source::Receiving};

/// The promise holds without the bug, and is broken with it.
fn caught(bug: Bug, promise: &str, run: impl Fn(Option<Bug>)) {
    run(None);
    match said(|| run(Some(bug))) {
        Some(said) => assert!(is_broken(&said), "{bug:?} doesn't break {promise}, but: {said}"),
        None => panic!("{bug:?} is planted, and {promise} holds all the same"),
    }
}

/// What a panic says.
fn said(run: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(run)).err()?;
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    Some(panic.downcast_ref::<String>().cloned().or(text).unwrap_or_default())
}

/// A broken promise says what was seen; a hang doesn't, nor does a panic for another reason.
fn is_broken(said: &str) -> bool {
    said.contains("seen: ")
}

macro_rules! planted {
    ($factory:ident: $($test:ident: $bug:ident breaks $($promise:ident)::+ $(, $($also:ident)::+)*;)+) => {
        $(
            #[test]
            fn $test() {
                caught(Bug::$bug, stringify!($($promise)::+), |bug| {
                    relaybox_conformance::run(
                        relaybox_conformance::$($promise)::+(&$factory(bug)),
                    );
                });
                $(
                    caught(Bug::$bug, stringify!($($also)::+), |bug| {
                        relaybox_conformance::run(
                            relaybox_conformance::$($also)::+(&$factory(bug)),
                        );
                    });
                )*
            }
        )+
    };
}

mod without_a_bug {
    use super::{Fake, Marking, Receiving, Slow};

    mod store {
        use super::Fake;

        relaybox_conformance::store_promises!(Fake(None));
    }

    mod archive {
        use super::Fake;

        relaybox_conformance::archive_promises!(Fake(None));
    }

    #[test]
    fn any_history_is_that_of_the_model() {
        relaybox_conformance::model_check(&Fake(None), 500);
    }

    mod bus {
        use super::Slow;

        relaybox_conformance::bus_promises!(Slow(None));
    }

    mod source {
        use super::Receiving;

        relaybox_conformance::source_promises!(Receiving(None));
    }

    mod inbox {
        use super::Marking;

        relaybox_conformance::inbox_promises!(Marking(None));
    }
}

/// The table in the README names each bug, and what catches it.
#[test]
fn every_bug_is_in_the_readme() {
    let (bugs, readme) = (include_str!("bug.rs"), include_str!("../../README.md"));
    let main = include_str!("main.rs");
    let named = bugs.lines().filter_map(|line| line.trim().strip_suffix(','));
    let mut count = 0;
    for bug in named.filter(|name| name.chars().all(char::is_alphanumeric)) {
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{bug}`")));
        let row = row.unwrap_or_else(|| panic!("{bug} is not in the README's table"));
        let promises = row.split('`').skip(3).step_by(2).collect::<Vec<_>>();
        assert!(!promises.is_empty(), "{bug} is caught by nothing");
        let planted = main.split(&format!(": {bug} breaks")).nth(1).unwrap_or_default();
        let planted = planted.split(';').next().unwrap_or_default();
        for promise in promises {
            assert!(planted.contains(promise), "{bug} is not tested against {promise}");
        }
        count += 1;
    }
    assert!(count >= 12, "{count} bugs");
}

planted! { Fake:
    a_plain_cursor_loses_what_commits_late: PlainCursor breaks
        store::late_commits::a_late_commit_is_given_later_and_holds_back_nothing,
        store::late_commits::transactions_that_commit_in_any_order_lose_nothing_and_repeat_nothing;
    an_order_by_transaction_inverts_an_aggregate: OrderByTransaction breaks
        store::order::a_transaction_that_began_early_and_wrote_late_comes_late;
    two_statements_let_an_event_and_its_successor_swap: TwoStatements breaks
        store::late_commits::an_event_and_its_successor_never_swap_while_they_commit_during_a_read;
    a_gap_is_forgotten_on_a_full_page: GapForgottenOnFullPage breaks
        store::late_commits::a_gap_on_a_full_page_is_filled_when_its_transaction_commits;
    no_read_is_without_hints: NoUnhintedRead breaks
        store::late_commits::an_event_below_all_positions_is_given_in_the_end;
    what_is_overlooked_is_not_counted: OverlookedIsNotCounted breaks
        store::late_commits::an_event_below_all_positions_is_given_in_the_end;
    a_rollback_is_visible: RollbackVisible breaks
        store::writing::a_rolled_back_event_is_never_given;
    what_is_in_flight_is_given_again: InFlightGivenAgain breaks
        store::reading::an_event_in_flight_is_not_given_twice;
    a_park_is_forgotten_on_takeover: ParkForgottenOnTakeover breaks
        store::dead_letters::a_parked_aggregate_stays_so_after_a_takeover;
    what_is_held_back_takes_the_page: HeldBackTakesThePage breaks
        store::reading::held_back_types_stay_where_they_are;
    events_are_settled_before_they_are_published: SettleBeforePublish breaks
        store::writing::a_committed_event_is_given_until_it_is_settled,
        store::reading::a_rewound_reader_gives_again_whatever_is_not_settled;
    no_epoch_is_checked: NoEpochCheck breaks
        store::lease::a_late_settle_after_lease_loss_changes_nothing,
        store::lease::an_older_lease_of_the_same_relay_is_lost;
    the_lease_goes_by_name: LeaseByName breaks
        store::lease::an_older_lease_of_the_same_relay_is_lost;
    a_lost_settlement_reports_success: LostSettleReportsSuccess breaks
        store::lease::a_late_settle_after_lease_loss_changes_nothing;
    a_settlement_goes_by_the_number: SettledByNumber breaks
        store::settling::a_settlement_of_another_event_finds_nothing_in_its_place;
    the_row_count_of_the_settlement_is_ignored: RowCountIgnored breaks
        store::settling::settling_again_changes_nothing_and_the_count_tells;
    a_settlement_is_done_by_halves: SettledByHalves breaks
        store::settling::a_settlement_is_all_or_none;
    a_dead_letter_is_inserted_but_the_event_kept: DeadLetterKeepsEvent breaks
        store::settling::a_settlement_says_what_it_found_and_moves_it,
        store::dead_letters::what_is_given_up_on_is_not_given_again_unasked;
    redriving_inserts_again: RedriveByReinsert breaks
        store::redrive::redriving_only_flags,
        store::redrive::redriven_events_come_in_the_original_order_and_before_new_ones;
    redriving_leaves_predecessors_behind: RedriveWithoutPredecessors breaks
        store::redrive::redriving_the_later_of_two_dead_letters_takes_the_earlier_one_along;
    a_flag_unparks: UnparkedByTheFlag breaks
        store::redrive::the_settlement_of_the_last_redriven_event_unparks_its_aggregate;
    discarding_takes_too_many: DiscardTakesTooMany breaks
        store::discarding::discarding_a_dead_letter_may_take_its_successors_along;
    a_late_settlement_is_archived: ArchivedWithoutTheLease breaks
        archive::moving::a_late_settlement_archives_nothing;
    what_is_settled_again_is_archived_again: ArchivedTwice breaks
        archive::moving::settling_again_archives_nothing_twice;
    the_archive_does_not_know_the_place: ArchivedWithoutItsPlace breaks
        archive::moving::what_is_published_is_archived_with_its_place_and_its_times,
        archive::moving::a_redriven_event_is_archived_once_it_is_published;
    an_event_is_archived_in_another_transaction: ArchivedInAnotherTransaction breaks
        archive::moving::an_event_waits_or_is_archived_never_both_or_neither;
    a_redriven_event_is_not_archived: RedrivenIsNotArchived breaks
        archive::moving::a_redriven_event_is_archived_once_it_is_published;
    what_is_discarded_is_archived: DiscardedIsArchived breaks
        archive::moving::nothing_else_is_archived;
    a_purge_takes_the_latest: PurgeTakesTheLatest breaks
        archive::purging::a_purge_is_bounded_and_takes_the_oldest;
    a_purge_ignores_the_age: PurgeIgnoresTheAge breaks
        archive::purging::a_purge_spares_the_young;
    the_archive_has_the_time_of_the_writing: ArchivedWithTheTimeOfWriting breaks
        archive::moving::what_is_archived_has_the_time_of_its_settlement;
    discarding_takes_what_is_archived: DiscardTakesTheArchived breaks
        archive::purging::nothing_but_a_purge_removes_what_is_archived;
}

/// Without any promise: random histories find what shows in a sequence of calls.
#[test]
fn the_model_check_finds_what_shows_in_a_sequence_of_calls() {
    for bug in [
        Bug::OrderByTransaction,
        Bug::RollbackVisible,
        Bug::InFlightGivenAgain,
        Bug::ParkForgottenOnTakeover,
        Bug::SettleBeforePublish,
        Bug::NoEpochCheck,
        Bug::LostSettleReportsSuccess,
        Bug::RowCountIgnored,
        Bug::DeadLetterKeepsEvent,
        Bug::RedriveByReinsert,
        Bug::RedriveWithoutPredecessors,
        Bug::UnparkedByTheFlag,
        Bug::ArchivedWithoutTheLease,
        Bug::ArchivedTwice,
        Bug::RedrivenIsNotArchived,
        Bug::DiscardedIsArchived,
        Bug::DiscardTakesTheArchived,
        Bug::PurgeTakesTheLatest,
    ] {
        let check = || relaybox_conformance::model_check(&Fake(Some(bug)), 2_000);
        let Some(text) = said(check) else { panic!("{bug:?} is planted, and not found") };
        assert!(is_broken(&text), "{bug:?} is not what is found, but: {text}");
        let history = text.split_once("after this history").expect("and after which history").1;
        let steps = history.lines().skip(1).count();
        assert!((1..=14).contains(&steps), "{bug:?} takes {steps} steps to show: {text}");
    }
}

planted! { Slow:
    gapless_is_off: GaplessOff breaks
        bus::latch::nothing_behind_a_refused_record_is_acknowledged,
        bus::latch::a_bus_recovers_in_order;
    the_latch_is_forgotten: LatchForgotten breaks
        bus::latch::a_failed_bus_is_halted_until_it_recovers;
    records_are_handed_over_when_polled: HandsOverWhenPolled breaks
        bus::order::calls_in_flight_together_keep_the_order_of_the_calls;
    receipts_are_misaligned: ReceiptsMisaligned breaks
        bus::receipts::a_receipt_says_where_the_record_is;
    records_are_acknowledged_too_early: AcknowledgesTooEarly breaks
        bus::latch::a_recovery_in_full_flight_keeps_the_order;
    innocent_neighbours_are_refused: InnocentNeighboursRefused breaks
        bus::refusals::neighbours_of_a_refused_record_are_accepted_alone;
}

planted! { Marking:
    marks_are_made_without_the_transaction: MarksWithoutTheTransaction breaks
        inbox::transactions::a_mark_that_was_rolled_back_is_none,
        inbox::transactions::mark_and_effect_commit_as_one;
    a_repeat_inside_a_batch_is_first: RepeatInsideABatchIsFirst breaks
        inbox::marks::a_repeat_inside_a_call_is_a_repeat;
    one_mark_serves_all_consumers: OneMarkForAllConsumers breaks
        inbox::marks::an_event_is_first_once_for_each_consumer;
    what_was_given_up_on_is_given_up_everywhere: GivenUpEverywhere breaks
        inbox::giving_up::what_was_given_up_on_is_remembered_by_place;
    what_is_known_may_be_rolled_back: KnownBeforeTheCommit breaks
        inbox::marks::what_is_known_has_committed;
    a_purge_takes_the_marks_of_all: PurgeTakesAll breaks
        inbox::purging::a_consumer_purges_its_own;
    starts_are_forgotten_in_a_crash: StartsInMemory breaks
        inbox::starts::a_start_after_a_crash_is_counted;
    starts_are_counted_by_assignment: StartsByAssignment breaks
        inbox::starts::a_start_after_a_crash_is_counted;
    attempts_have_no_place: AttemptsWithoutPlace breaks
        inbox::starts::attempts_are_counted_by_place_and_apart_from_starts;
}

planted! { Receiving:
    a_second_batch_comes_before_the_first_is_settled: SecondBatchBeforeTheFirstIsSettled breaks
        source::receiving::a_partition_has_one_batch_out;
    a_dropped_receive_takes_a_batch_along: ReceiveLosesWhatItIsDroppedWith breaks
        source::receiving::a_dropped_receive_loses_nothing;
    a_place_is_that_of_the_delivery: PlaceOfTheDelivery breaks
        source::receiving::a_place_is_the_same_when_it_is_delivered_again;
    a_late_acknowledgement_is_accepted: LateAcknowledgement breaks
        source::members::a_revoked_partition_takes_no_acknowledgement;
    a_release_acknowledges: ReleaseAcknowledges breaks
        source::releasing::what_is_released_comes_again;
    a_dead_letter_drops_a_header: DeadLetterDropsAHeader breaks
        source::dead_letters::a_dead_letter_keeps_the_record_byte_for_byte;
    a_dead_letter_is_late: DeadLetterIsLate breaks
        source::dead_letters::a_dead_letter_keeps_the_record_byte_for_byte;
    attempts_are_forgotten_in_a_redelivery: RedeliveryForgetsAttempts breaks
        source::redelivery::a_delivery_that_is_put_off_comes_again_after_its_delay;
    a_redelivery_comes_at_once: RedeliveryAtOnce breaks
        source::redelivery::a_delivery_that_is_put_off_comes_again_after_its_delay;
    a_redelivery_is_a_timer: RedeliveryInMemory breaks
        source::redelivery::a_delivery_that_is_put_off_survives_its_member;
}
