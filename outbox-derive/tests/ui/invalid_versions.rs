use relaybox_core::DomainEvent;

#[derive(DomainEvent)]
#[event(aggregate = "session", name = "session.created", version = 0)]
struct Zero(#[event(aggregate_id)] u8);

#[derive(DomainEvent)]
#[event(aggregate = "session", name = "session.created", version = 65536)]
struct TooLarge(#[event(aggregate_id)] u8);

#[derive(DomainEvent)]
#[event(aggregate = "session", name = "session.created", version = "1")]
struct Text(#[event(aggregate_id)] u8);

fn main() {}
