//! The lists of promises, and the macros that make tests of them.

/// `[callback] { given }` calls `callback! { given module: promise, …; … }` with every promise of a store.
///
/// For those who want something else than a test of each promise; see [`store_promises!`](crate::store_promises).
#[macro_export]
macro_rules! for_each_store_promise {
    ([$($callback:tt)+] { $($given:tt)* }) => {
        $($callback)+! { $($given)*
            writing:
                a_rolled_back_event_is_never_given,
                a_committed_event_is_given_until_it_is_settled,
                an_event_comes_back_whole,
                events_of_a_transaction_keep_the_order_in_which_they_were_written;
            order:
                events_come_lowest_position_first,
                events_of_an_aggregate_come_in_the_order_of_their_commits,
                a_transaction_that_began_early_and_wrote_late_comes_late;
            late_commits:
                a_late_commit_is_given_later_and_holds_back_nothing,
                a_gap_on_a_full_page_is_filled_when_its_transaction_commits,
                a_rolled_back_gap_holds_back_nothing,
                transactions_that_commit_in_any_order_lose_nothing_and_repeat_nothing,
                an_event_and_its_successor_never_swap_while_they_commit_during_a_read,
                an_event_below_all_positions_is_given_in_the_end;
            reading:
                an_event_in_flight_is_not_given_twice,
                a_rewound_reader_gives_again_whatever_is_not_settled,
                a_forgotten_event_is_not_given_again,
                a_new_reader_has_nothing_in_flight,
                a_read_gives_at_most_its_limit,
                a_read_stops_after_the_event_that_passes_the_bytes,
                held_back_types_stay_where_they_are,
                a_row_that_is_no_event_is_given_as_an_error,
                a_rewind_after_a_dropped_read_loses_nothing;
            lease:
                one_relay_holds_the_lease_at_a_time,
                each_acquisition_has_a_higher_epoch,
                a_released_lease_is_free_at_once,
                an_expired_lease_is_taken_over,
                a_renewed_lease_lasts,
                a_lost_lease_is_neither_renewed_nor_released,
                a_late_settle_after_lease_loss_changes_nothing,
                an_older_lease_of_the_same_relay_is_lost,
                a_takeover_does_not_slip_into_a_settlement;
            settling:
                a_settlement_says_what_it_found_and_moves_it,
                settling_again_changes_nothing_and_the_count_tells,
                settling_a_redriven_event_again_changes_nothing,
                a_settlement_of_another_event_finds_nothing_in_its_place,
                a_settlement_is_all_or_none,
                nothing_leaves_but_by_a_settlement_or_a_discard,
                a_large_settlement_is_one;
            dead_letters:
                a_dead_letter_holds_the_event_the_reason_and_the_attempts,
                a_dead_letter_parks_its_own_aggregate_only,
                a_parked_aggregate_stays_so_after_a_takeover,
                what_is_given_up_on_is_not_given_again_unasked,
                an_event_is_parked_while_its_predecessor_is_still_being_parked,
                dead_letters_are_found_by_query_in_the_original_order,
                a_row_that_is_no_event_can_be_given_up_on;
            redrive:
                redriving_only_flags,
                redriven_events_come_in_the_original_order_and_before_new_ones,
                the_settlement_of_the_last_redriven_event_unparks_its_aggregate,
                redriving_an_event_redrives_its_predecessors,
                redriving_the_later_of_two_dead_letters_takes_the_earlier_one_along,
                a_redriven_event_that_fails_again_waits_for_a_person,
                a_redriven_event_is_given_again_after_a_crash_and_not_before,
                redriving_a_few_at_a_time_gets_through_all,
                events_that_come_during_a_redrive_keep_the_order;
            discarding:
                discarding_a_dead_letter_may_release_its_successors,
                discarding_a_dead_letter_may_take_its_successors_along,
                a_discarded_event_is_gone_and_no_other;
            stats:
                stats_are_exact,
                the_oldest_age_is_that_of_the_oldest_unsettled_event,
                the_holder_is_named_as_long_as_its_lease_lasts;
        }
    };
}

/// `[callback] { given }` calls `callback! { given module: promise, …; … }` with every promise of an archive.
#[macro_export]
macro_rules! for_each_archive_promise {
    ([$($callback:tt)+] { $($given:tt)* }) => {
        $($callback)+! { $($given)*
            moving:
                what_is_published_is_archived_with_its_place_and_its_times,
                what_is_archived_has_the_time_of_its_settlement,
                nothing_else_is_archived,
                a_redriven_event_is_archived_once_it_is_published,
                settling_again_archives_nothing_twice,
                a_late_settlement_archives_nothing,
                an_event_waits_or_is_archived_never_both_or_neither;
            finding:
                the_latest_come_first,
                an_event_is_found_by_id_by_aggregate_and_by_time;
            purging:
                a_purge_is_bounded_and_takes_the_oldest,
                a_purge_spares_the_young,
                a_purge_leaves_what_waits,
                nothing_but_a_purge_removes_what_is_archived;
        }
    };
}

/// `[callback] { given }` calls `callback! { given module: promise, …; … }` with every promise of a bus.
#[macro_export]
macro_rules! for_each_bus_promise {
    ([$($callback:tt)+] { $($given:tt)* }) => {
        $($callback)+! { $($given)*
            records:
                a_record_arrives_byte_for_byte,
                an_empty_payload_is_no_tombstone,
                a_key_stays_in_its_partition;
            order:
                results_are_in_the_order_of_the_records,
                calls_in_flight_together_keep_the_order_of_the_calls,
                a_dropped_future_stops_no_record;
            latch:
                nothing_behind_a_refused_record_is_acknowledged,
                a_failed_bus_is_halted_until_it_recovers,
                a_bus_recovers_in_order,
                a_recovery_in_full_flight_keeps_the_order;
            refusals:
                a_refused_record_is_refused_alone,
                neighbours_of_a_refused_record_are_accepted_alone;
            receipts:
                a_receipt_says_where_the_record_is,
                a_receipt_says_as_much_as_the_broker_knows;
        }
    };
}

/// `[callback] { given }` calls `callback! { given module: promise, …; … }` with every promise of a source.
#[macro_export]
macro_rules! for_each_source_promise {
    ([$($callback:tt)+] { $($given:tt)* }) => {
        $($callback)+! { $($given)*
            receiving:
                a_delivery_is_the_record_byte_for_byte,
                deliveries_come_in_order,
                a_partition_has_one_batch_out,
                another_partition_goes_on,
                a_dropped_receive_loses_nothing,
                a_place_is_the_same_when_it_is_delivered_again;
            acknowledging:
                what_was_not_acknowledged_comes_to_the_next_member,
                what_was_acknowledged_is_done_with,
                a_partial_acknowledgement_counts;
            releasing:
                what_is_released_comes_again,
                what_is_released_stays_before_what_is_behind_it,
                releasing_when_no_batch_is_out_does_nothing;
            members:
                a_partition_has_one_member_at_a_time,
                a_revoked_partition_takes_no_acknowledgement,
                members_come_and_go_and_nothing_is_lost;
            dead_letters:
                a_dead_letter_keeps_the_record_byte_for_byte,
                a_dead_letter_says_what_became_of_it,
                a_dead_letter_is_no_acknowledgement;
            redelivery:
                a_delivery_that_is_put_off_comes_again_after_its_delay,
                a_delivery_that_is_put_off_survives_its_member;
            stats:
                the_lag_falls_to_zero_when_all_is_acknowledged,
                dead_letters_are_counted;
        }
    };
}

/// `[callback] { given }` calls `callback! { given module: promise, …; … }` with every promise of an inbox.
#[macro_export]
macro_rules! for_each_inbox_promise {
    ([$($callback:tt)+] { $($given:tt)* }) => {
        $($callback)+! { $($given)*
            marks:
                an_event_is_first_once_for_each_consumer,
                a_repeat_inside_a_call_is_a_repeat,
                marks_are_in_the_order_of_the_events,
                what_is_known_has_committed;
            transactions:
                a_mark_that_was_rolled_back_is_none,
                mark_and_effect_commit_as_one,
                of_concurrent_deliveries_one_has_its_effect,
                a_second_mark_waits_for_the_first_ones_end,
                overlapping_batches_all_commit,
                an_idle_transaction_is_ended_within_its_limit;
            giving_up:
                what_was_given_up_on_is_remembered_by_place,
                progress_and_another_record_at_the_place_replace_what_was_noted,
                what_was_given_up_on_is_not_processed;
            purging:
                purging_is_bounded_and_spares_the_young,
                purging_takes_notes_of_what_was_given_up_on_as_well,
                a_consumer_purges_its_own;
            starts:
                a_start_after_a_crash_is_counted,
                a_start_at_another_place_is_the_first,
                an_orderly_stop_forgets_starts_and_attempts,
                attempts_are_counted_by_place_and_apart_from_starts,
                an_attempt_that_was_survived_is_not_counted,
                starts_at_once_are_all_counted;
        }
    };
}

/// Makes a test of each promise of a store, named after it.
///
/// Takes an expression that makes the [`StoreFactory`](crate::StoreFactory). Use it in a module of its
/// own for each store. See the [crate's documentation](crate).
#[macro_export]
macro_rules! store_promises {
    ($factory:expr) => {
        $crate::for_each_store_promise! { [$crate::__promises_as_tests] { ($factory) store } }
    };
}

/// Makes a test of each promise of an archive, named after it.
///
/// Takes an expression that makes a [`StoreFactory`](crate::StoreFactory) whose stores
/// [archive](crate::StoreFactory::archive).
#[macro_export]
macro_rules! archive_promises {
    ($factory:expr) => {
        $crate::for_each_archive_promise! { [$crate::__promises_as_tests] { ($factory) archive } }
    };
}

/// Makes a test of each promise of a bus, named after it.
///
/// Takes an expression that makes the [`BusFactory`](crate::BusFactory).
#[macro_export]
macro_rules! bus_promises {
    ($factory:expr) => {
        $crate::for_each_bus_promise! { [$crate::__promises_as_tests] { ($factory) bus } }
    };
}

/// Makes a test of each promise of a source, named after it.
///
/// Takes an expression that makes the [`SourceFactory`](crate::SourceFactory).
#[macro_export]
macro_rules! source_promises {
    ($factory:expr) => {
        $crate::for_each_source_promise! { [$crate::__promises_as_tests] { ($factory) source } }
    };
}

/// Makes a test of each promise of an inbox, named after it.
///
/// Takes an expression that makes the [`InboxFactory`](crate::InboxFactory).
#[macro_export]
macro_rules! inbox_promises {
    ($factory:expr) => {
        $crate::for_each_inbox_promise! { [$crate::__promises_as_tests] { ($factory) inbox } }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __promises_as_tests {
    (($factory:expr) $kind:ident $($module:ident: $($promise:ident),+ $(,)?;)+) => {
        $(
            mod $module {
                use super::*;

                $(
                    #[test]
                    fn $promise() {
                        $crate::run($crate::$kind::$module::$promise(&$factory));
                    }
                )+
            }
        )+
    };
}
