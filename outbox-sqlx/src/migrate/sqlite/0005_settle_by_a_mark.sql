-- Up to where everything is settled. Rows up to there are published: they are removed when nothing waits, for
-- deleting them one by one costs more than all the rest. A row that is made anew says that nothing is settled.
ALTER TABLE {outbox_relay} ADD COLUMN settled_to INTEGER NOT NULL DEFAULT -9223372036854775807;
UPDATE {outbox_relay} SET settled_to = coalesce((SELECT min(seq) - 1 FROM {outbox_events}), 0);

-- AUTOINCREMENT gives no number from there. One that is made by hand, or after a restore without
-- sqlite_sequence, moves the mark back: its event is late, not lost.
CREATE TRIGGER {outbox_events.schema}{outbox_events.idx_inserted_below} AFTER INSERT ON {outbox_events.local}
WHEN NEW.seq <= (SELECT settled_to FROM {outbox_relay.local})
BEGIN
    DELETE FROM {outbox_events.local}
    WHERE seq <= (SELECT settled_to FROM {outbox_relay.local}) AND seq <> NEW.seq;
    UPDATE {outbox_relay.local} SET settled_to = NEW.seq - 1;
END;
-- Of no column in particular: the position has other names, such as rowid.
CREATE TRIGGER {outbox_events.schema}{outbox_events.idx_moved_below} AFTER UPDATE ON {outbox_events.local}
WHEN (NEW.seq <> OLD.seq OR NEW.event_id <> OLD.event_id)
    AND NEW.seq <= (SELECT settled_to FROM {outbox_relay.local})
BEGIN
    DELETE FROM {outbox_events.local}
    WHERE seq <= (SELECT settled_to FROM {outbox_relay.local}) AND seq <> NEW.seq;
    UPDATE {outbox_relay.local} SET settled_to = NEW.seq - 1;
END;
