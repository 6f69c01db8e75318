use relaybox_core::DomainEvent;

#[derive(DomainEvent)]
#[event(aggregate = "session", name = "session.created")]
struct Created {
    #[event(aggregate_id)]
    session: u8,
    #[event(aggregate_id)]
    user: u8,
}

fn main() {}
