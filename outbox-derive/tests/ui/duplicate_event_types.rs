use relaybox_core::DomainEvent;

#[derive(DomainEvent)]
#[event(aggregate = "session")]
enum Events {
    #[event(name = "session.created", version = 1)]
    Created(#[event(aggregate_id)] u8),
    #[event(name = "session.created")]
    Opened(#[event(aggregate_id)] u8),
}

fn main() {}
