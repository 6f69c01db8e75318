use relaybox_core::DomainEvent;

#[derive(DomainEvent)]
#[event(aggregate = "session", name = "session.created")]
union Either {
    a: u8,
    b: u8,
}

fn main() {}
