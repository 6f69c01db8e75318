use relaybox_core::DomainEvent;

#[derive(DomainEvent)]
struct Bare {
    id: u8,
}

#[derive(DomainEvent)]
#[event(aggregate = "session")]
enum Events {
    Created(#[event(aggregate_id)] u8),
    #[event(name = "session.revoked")]
    Revoked,
}

#[derive(DomainEvent)]
#[event(aggregate = "session")]
enum Empty {}

fn main() {}
