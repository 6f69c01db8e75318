use relaybox_core::DomainEvent;

#[derive(DomainEvent)]
#[event(aggregate = "Session", name = "session created")]
struct Created(#[event(aggregate_id)] u8);

#[derive(DomainEvent)]
#[event(aggregate = "a.b", name = "session.")]
struct Revoked(#[event(aggregate_id)] u8);

fn main() {}
