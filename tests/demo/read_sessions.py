"""Reads session events as any service in Python would, with Confluent's client: from a time on to the
end of the topic. Prints how many different Avro events there are, by source and type, as JSON.

read_sessions.py BROKERS REGISTRY TOPIC SINCE_MS
"""

import json
import sys

from confluent_kafka import OFFSET_END, Consumer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

PATIENCE = 30

brokers, registry, topic, since = sys.argv[1:]
deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry}))
consumer = Consumer({
    "bootstrap.servers": brokers,
    "group.id": "read-sessions",
    "enable.auto.commit": False,
})
numbers = consumer.list_topics(topic, PATIENCE).topics[topic].partitions
places = [TopicPartition(topic, number, int(since)) for number in numbers]
left = {}
for place in consumer.offsets_for_times(places, PATIENCE):
    low, high = consumer.get_watermark_offsets(place, PATIENCE)
    if place.offset != OFFSET_END and place.offset < high:
        left[place.partition] = (max(place.offset, low), high)
consumer.assign([TopicPartition(topic, number, first) for number, (first, _) in left.items()])

events = {}
while left:
    message = consumer.poll(PATIENCE)
    if message is None or message.error():
        sys.exit(f"the topic has more: {message and message.error()}")
    headers = {name: value.decode() for name, value in message.headers()}
    if headers.get("content-type") == "application/avro":
        context = SerializationContext(topic, MessageField.VALUE, message.headers())
        event = deserialize(message.value(), context)
        if str(event["session_id"]) != message.key().decode() or event["version"] < 1:
            sys.exit("an event is not what it says")
        ids = events.setdefault(headers["ce_source"], {}).setdefault(headers["ce_type"], set())
        ids.add(headers["ce_id"])
    if message.offset() + 1 >= left[message.partition()][1]:
        del left[message.partition()]
consumer.close()
print(json.dumps({
    source: {event_type: len(ids) for event_type, ids in types.items()}
    for source, types in events.items()
}))
