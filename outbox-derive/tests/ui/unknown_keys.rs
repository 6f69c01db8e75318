use relaybox_core::DomainEvent;

#[derive(DomainEvent)]
#[event(aggregat = "session", name = "session.created")]
struct Typo(#[event(aggregate_id)] u8);

#[derive(DomainEvent)]
#[event(aggregate = "session", name = "session.created")]
enum NameOnEnum {
    #[event(name = "session.created")]
    Created(#[event(aggregate_id)] u8),
}

#[derive(DomainEvent)]
#[event(aggregate = "session", name = "session.created", name = "session.made")]
struct Twice(#[event(id)] u8);

#[derive(DomainEvent)]
#[event(aggregate = "session", name = "session.created")]
struct Flag(#[event(aggregate_id = "yes")] u8);

fn main() {}
