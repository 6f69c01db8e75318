//! The bugs that are planted, one at a time.

/// What is wrong with a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    // The reader.
    /// Reads `seq > pos`, and nothing below.
    PlainCursor,
    /// Orders by the transaction's number, then by seq.
    OrderByTransaction,
    /// Reads the gaps in one statement and what is new in another.
    TwoStatements,
    /// Takes a full page as proof that nothing is missing below its end.
    GapForgottenOnFullPage,
    /// Never reads without its hints.
    NoUnhintedRead,
    /// Doesn't count what only a read without its hints found.
    OverlookedIsNotCounted,
    /// Reads what isn't committed.
    RollbackVisible,
    /// Forgets what is in flight with each read.
    InFlightGivenAgain,
    /// Keeps what is parked in its own memory.
    ParkForgottenOnTakeover,
    /// Lets a page's limit count what is held back.
    HeldBackTakesThePage,

    // The settlement.
    /// Settles as it reads, before anything is published.
    SettleBeforePublish,
    /// Looks at nobody's epoch.
    NoEpochCheck,
    /// Changes nothing without the lease, and reports success.
    LostSettleReportsSuccess,
    /// Counts what it was given, not what it found.
    RowCountIgnored,
    /// Removes, dies in between, and would move later.
    SettledByHalves,
    /// Inserts a dead letter and leaves the event where it was.
    DeadLetterKeepsEvent,
    /// Settles whatever has the event's number.
    SettledByNumber,
    /// Takes the lease by the name of the relay.
    LeaseByName,

    // Redriving and discarding.
    /// Moves redriven events back into the outbox, at its end.
    RedriveByReinsert,
    /// Flags the selected event alone.
    RedriveWithoutPredecessors,
    /// Unparks as soon as a person flags.
    UnparkedByTheFlag,
    /// Removes whatever is behind the discarded one.
    DiscardTakesTooMany,

    // The archive.
    /// Archives what a relay without the lease says was published.
    ArchivedWithoutTheLease,
    /// Archives again what is settled again.
    ArchivedTwice,
    /// Doesn't say where it went.
    ArchivedWithoutItsPlace,
    /// Removes, and archives in a transaction of its own.
    ArchivedInAnotherTransaction,
    /// Archives what came from the outbox only.
    RedrivenIsNotArchived,
    /// Archives what a person discards as well.
    DiscardedIsArchived,
    /// Takes the time from the row that was written.
    ArchivedWithTheTimeOfWriting,
    /// Discards what was published as well.
    DiscardTakesTheArchived,
    /// Purges the latest first.
    PurgeTakesTheLatest,
    /// Purges whatever is there.
    PurgeIgnoresTheAge,

    // The bus.
    /// Acknowledges what is behind a refused record.
    GaplessOff,
    /// Goes on after a failure, unasked.
    LatchForgotten,
    /// Hands records over when its future is polled.
    HandsOverWhenPolled,
    /// Gives the receipts in another order.
    ReceiptsMisaligned,
    /// Acknowledges what it only queued.
    AcknowledgesTooEarly,
    /// Refuses a record's neighbours for its fault, alone as well.
    InnocentNeighboursRefused,

    // The inbox.
    /// Marks in a transaction of its own.
    MarksWithoutTheTransaction,
    /// Tells a repeat inside a call as first, twice.
    RepeatInsideABatchIsFirst,
    /// Has one mark for all consumers.
    OneMarkForAllConsumers,
    /// Takes what was given up on in one place for given up on everywhere.
    GivenUpEverywhere,
    /// Calls known what may be rolled back yet.
    KnownBeforeTheCommit,
    /// Purges everybody's marks.
    PurgeTakesAll,
    /// Counts starts in the process that may die.
    StartsInMemory,
    /// Counts the starts of each assignment by themselves.
    StartsByAssignment,
    /// Counts attempts whatever their place.
    AttemptsWithoutPlace,

    // The source.
    /// Gives the second half of a batch while the first is out.
    SecondBatchBeforeTheFirstIsSettled,
    /// Forgets what it received when it is dropped at that moment.
    ReceiveLosesWhatItIsDroppedWith,
    /// Numbers each delivery anew, and calls that its place.
    PlaceOfTheDelivery,
    /// Acknowledges what is another member's.
    LateAcknowledgement,
    /// Takes what is given back for done with.
    ReleaseAcknowledges,
    /// Leaves out a header of a dead letter.
    DeadLetterDropsAHeader,
    /// Returns before the dead letter is written.
    DeadLetterIsLate,
    /// Forgets how often a delivery was put off.
    RedeliveryForgetsAttempts,
    /// Delivers at once what was put off.
    RedeliveryAtOnce,
    /// Keeps what was put off in a timer of its own.
    RedeliveryInMemory,
}
