"""Reads and writes events as any service in Python would, with Confluent's client.

read BROKERS REGISTRY TOPIC COUNT   prints each record as a line of JSON: key, headers, value
write BROKERS REGISTRY TOPIC        takes lines of JSON: schema, key, headers, value
"""

import json
import sys
import time
import uuid

from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import (
    SchemaRegistryClient,
    topic_record_subject_name_strategy,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext


def read(brokers, registry, topic, count):
    deserialize = AvroDeserializer(registry)
    consumer = Consumer({
        "bootstrap.servers": brokers,
        "group.id": str(uuid.uuid4()),
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    })
    consumer.subscribe([topic])
    deadline = time.monotonic() + 50
    while count and time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            sys.exit(str(message.error()))
        context = SerializationContext(topic, MessageField.VALUE, message.headers())
        print(json.dumps({
            "key": message.key().decode(),
            "headers": {name: value.decode() for name, value in message.headers()},
            "value": deserialize(message.value(), context),
        }))
        count -= 1
    consumer.close()


def write(brokers, registry, topic):
    producer = Producer({"bootstrap.servers": brokers, "partitioner": "murmur2_random"})
    for line in sys.stdin:
        event = json.loads(line)
        serialize = AvroSerializer(
            registry,
            event["schema"],
            conf={"subject.name.strategy": topic_record_subject_name_strategy},
        )
        value = serialize(event["value"], SerializationContext(topic, MessageField.VALUE))
        producer.produce(topic, key=event["key"], value=value, headers=event["headers"])
    if producer.flush(50):
        sys.exit("not all was delivered")


command, brokers, registry, topic, *rest = sys.argv[1:]
registry = SchemaRegistryClient({"url": registry})
if command == "read":
    read(brokers, registry, topic, int(rest[0]))
else:
    write(brokers, registry, topic)
