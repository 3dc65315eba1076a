"""The queue of an installation in one process: messages arrive at once, and an idle reader costs nothing."""

from __future__ import annotations

import threading
import time

import pytest
from kombu import Connection, Queue

from evalsuite.queue_in_memory import LOOK_S, Transport


@pytest.fixture
def connection():
    with Connection("memory://", transport=Transport) as opened:
        yield opened


def test_a_waiting_reader_gets_a_message_in_less_than_the_time_between_two_looks(connection):
    waits = []
    queue = Queue("woken", routing_key="woken")
    with connection.Consumer(
        queue, callbacks=[lambda body, _: waits.append(time.monotonic() - body["sent"])]
    ):
        for _ in range(20):
            send = threading.Timer(0.02, put, [queue])
            send.start()
            connection.drain_events(timeout=5)
            send.join()
    assert sorted(waits)[10] < LOOK_S / 2


def test_without_a_message_the_reader_comes_back_in_time(connection):
    begun = time.monotonic()
    with connection.Consumer(Queue("silent")), pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.2)
    assert 0.2 <= time.monotonic() - begun < 4


def test_a_message_is_delivered_after_one_before_it_was_acknowledged(connection):
    got = []
    queue = Queue("acknowledged", routing_key="acknowledged")
    with connection.Consumer(
        queue, callbacks=[lambda body, message: got.append((body, message))]
    ) as consumer:
        consumer.qos(prefetch_count=1)
        put(queue)
        put(queue)
        connection.drain_events(timeout=1)
        threading.Timer(0.1, got[0][1].ack).start()
        connection.drain_events(timeout=5)
    assert len(got) == 2


def put(queue):
    with Connection("memory://", transport=Transport) as sender:
        sender.Producer().publish({"sent": time.monotonic()}, routing_key=queue.name, declare=[queue])
