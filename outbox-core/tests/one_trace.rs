//! One trace runs from the request to the effect, through the outbox and the broker.

use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use relaybox_core::{
    CancellationToken, Consumer, ConsumerName, DomainEvent, Envelope, EventHandler, HandlerError,
    Outbox, Relay, TopicName, async_trait,
    memory::{MemoryBus, MemorySource, MemoryStore, MemoryTx},
};
use serde::{Deserialize, Serialize};
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;

#[derive(Serialize, Deserialize, DomainEvent)]
#[event(aggregate = "order", name = "order.placed")]
struct OrderPlaced {
    #[event(aggregate_id)]
    id: u32,
}

struct Ship;

#[async_trait]
impl EventHandler<OrderPlaced, MemoryTx> for Ship {
    async fn handle(
        &self,
        tx: &mut MemoryTx,
        _: &OrderPlaced,
        _: &Envelope,
    ) -> Result<(), HandlerError> {
        async { tx.put("shipped", "yes") }.instrument(tracing::info_span!("effect")).await;
        Ok(())
    }
}

fn span<'a>(spans: &'a [SpanData], name: &str) -> &'a SpanData {
    spans.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no span {name}"))
}

#[tokio::test]
async fn one_trace_runs_from_the_request_to_the_effect() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(layer);
    let _guard = tracing::subscriber::set_default(subscriber);

    let (store, bus) = (MemoryStore::new(), MemoryBus::new());
    let outbox = Outbox::new(store.clone());
    async {
        let mut tx = store.begin();
        outbox.enqueue(&mut tx, &OrderPlaced { id: 1 }).await.unwrap();
        tx.commit();
    }
    .instrument(tracing::info_span!("request"))
    .await;

    let shutdown = CancellationToken::new();
    let topic = TopicName::new("order-events.v1").unwrap();
    let source = MemorySource::new(&bus, ConsumerName::new("ship").unwrap(), vec![topic]);
    let consumer = Consumer::builder("ship", source, store.clone())
        .on::<OrderPlaced, _>(Ship)
        .build()
        .unwrap();
    let relay = Relay::builder(store.clone(), bus).build();
    let effect = async {
        while store.get("shipped").is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        shutdown.cancel();
    };
    let (relay, consumer, ()) =
        tokio::join!(relay.run(shutdown.clone()), consumer.run(shutdown.clone()), effect);
    relay.unwrap();
    consumer.unwrap();

    provider.force_flush().unwrap();
    let spans = exporter.get_finished_spans().unwrap();
    let request = span(&spans, "request");
    let enqueue = span(&spans, "relaybox.enqueue");
    let handle = span(&spans, "relaybox.handle");
    let effect = span(&spans, "effect");
    for span in [enqueue, handle, effect] {
        assert_eq!(span.span_context.trace_id(), request.span_context.trace_id(), "{}", span.name);
    }
    assert_eq!(enqueue.parent_span_id, request.span_context.span_id());
    assert_eq!(handle.parent_span_id, enqueue.span_context.span_id());
    assert_eq!(effect.parent_span_id, handle.span_context.span_id());
    span(&spans, "relaybox.publish");
}
