"""Endpoints that fail: held by all, tried by one, passed over while another one can answer."""

from __future__ import annotations

import contextlib
import random
import time

import pytest

from evalsuite.ids import new_id
from llm_routing import health, routing, slots
from llm_routing.errors import (
    BrokenStream,
    Cancelled,
    PromptTooLong,
    ProviderError,
    ProviderOverloaded,
    ProviderTimeout,
    ProviderUnavailable,
)
from llm_routing.gates import Gate, Holder
from llm_routing.models import Endpoint, Provider
from llm_routing.types import CompletionRequest, Message
from tests import factories
from tests.fakes.loading_ollama import Bad, LoadingOllama
from tests.llm_routing.crews import Crew, Group, work

DOWN = ProviderUnavailable("down")


class TestBreaker:
    """The rules alone, at moments of our choice."""

    def at(self, gate, now):
        return Gate.parse(gate.text(), now)

    def test_holds_after_five_failures_in_a_row(self):
        gate = Gate(100.0)
        for _ in range(4):
            gate.failed(None)
        gate.succeeded()
        for _ in range(4):
            gate.failed(None)
        assert gate.open_for_one
        gate.failed(None)
        assert gate.held_for == 5
        assert not gate.open_for_one

    def test_each_probe_that_fails_doubles_the_hold_up_to_two_minutes(self):
        gate = Gate(0.0)
        for _ in range(5):
            gate.failed(None)
        holds = []
        for _ in range(7):
            holds.append(gate.held_for)
            gate = self.at(gate, gate.health.held_until)
            assert gate.open_for_one
            gate.hold("probe", Holder(gate.now + 15))
            assert not gate.open_for_one  # one at a time
            gate.failed(None)
            gate.let_go("probe")
        assert holds == [5, 10, 20, 40, 80, 120, 120]

    def test_a_probe_that_succeeds_opens_it_for_all(self):
        gate = Gate(0.0)
        for _ in range(5):
            gate.failed(None)
        gate = self.at(gate, 5.0)
        gate.hold("probe", Holder(20))
        gate.succeeded()
        assert gate.open_for_one
        assert gate.to_leave(4, 60) == set()
        for _ in range(4):
            gate.failed(None)
        assert gate.held_for == 0

    def test_calls_that_were_in_the_air_change_nothing_about_a_hold(self):
        gate = Gate(0.0)
        for _ in range(9):
            gate.failed(None)
        gate.succeeded()
        assert gate.held_for == 5

    def test_retry_after_holds_for_as_long_as_it_says(self):
        gate = Gate(0.0)
        gate.failed(7.5)
        gate.failed(2.0)
        gate.succeeded()
        assert gate.held_for == 7.5

    def test_a_failure_after_a_pause_that_was_asked_for_holds_nothing(self):
        gate = Gate(0.0)
        gate.failed(1.0)
        for number in range(4):
            gate = self.at(gate, 1.0 + number)
            assert gate.held_for == 0
            gate.failed(None)
        assert gate.held_for == 5  # the fifth in a row

    def test_while_it_is_held_all_lanes_are_called_back_and_then_all_but_the_probe(self):
        gate = Gate(0.0)
        for name in "abc":
            gate.hold(name, Holder(30))
        gate.failed(3)
        assert gate.to_leave(4, 60) == {"a", "b", "c"}
        gate = self.at(gate, 3.0)
        gate.hold("probe", Holder(30))
        assert gate.to_leave(4, 60) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (DOWN, True),
        (ProviderOverloaded("busy"), True),
        (ProviderTimeout("late", phase="first_token"), True),
        (BrokenStream("cut"), True),
        (ProviderError("crashed"), True),
        (ProviderTimeout("slow", phase="total"), False),
        (PromptTooLong(), False),
        (None, False),
    ],
)
def test_what_counts_against_a_server(error, failure):
    assert health.is_failure(error) is failure


@pytest.mark.django_db(transaction=True)
class TestEndpoints:
    def add(self, model, url, **fields):
        return Endpoint.objects.create(provider=model.provider, base_url=url, **fields)

    def ask(self, model, text="hi"):
        request = CompletionRequest(model.name, (Message("user", text),))
        return routing.whole(routing.stream(routing.target_for(model), request, wait_s=2))

    def test_lanes_go_to_the_least_busy_by_weight(self, gates):
        model = factories.make_model(kind="openai_compatible", slug="v1", slots=8)
        light = model.provider.endpoints.get()
        heavy = self.add(model, "http://127.0.0.1:10", slots=8, weight=3)
        lanes = routing.open_lanes(model, "", 8)
        by_endpoint = [lane.target.endpoint_id for lane in lanes]
        assert (by_endpoint.count(light.pk), by_endpoint.count(heavy.pk)) == (2, 6)
        routing.close_lanes(lanes)

    def test_a_person_is_answered_by_another_endpoint(self, gates):
        with LoadingOllama() as server, LoadingOllama(bad=lambda n: Bad(503, "9")) as busy:
            model = factories.make_model(slots=4)  # nothing listens there
            self.add(model, busy.base_url)
            self.add(model, server.base_url)
            for n in range(4):
                assert self.ask(model, str(n)).content == f"echo: {n}"
            assert len(busy.refused) == 1

    def test_the_last_reason_is_told_where_none_can_answer(self, gates):
        model = factories.make_model(slots=4)
        self.add(model, "http://127.0.0.1:10")
        with pytest.raises(ProviderUnavailable, match="cannot be reached"):
            self.ask(model)

    def test_a_server_that_is_held_for_long_is_said_at_once(self, gates):
        model = factories.make_model(slots=4)
        target = routing.target_for(model)
        routing.report([(target, ProviderOverloaded("busy", retry_after=30))])
        started = time.monotonic()
        with pytest.raises(ProviderUnavailable, match="tried again in") as caught:
            self.ask(model)
        assert caught.value.retry_after > 25
        assert time.monotonic() - started < 10

    def test_reports_hold_an_endpoint_for_all(self, gates):
        model = factories.make_model(slots=4)
        target = routing.target_for(model)
        [lane] = routing.open_lanes(model, "k", 1)
        routing.report([(target, DOWN)] * 4 + [(target, Cancelled("ours"))])
        assert routing.in_demand([lane]) == 0
        routing.report([(target, DOWN)])
        assert routing.in_demand([lane]) == 1
        assert routing.open_lanes(model, "k", 1) == []
        assert 4 < slots.held_for(target.endpoint_id) <= 5.001  # kept in whole milliseconds
        routing.close_lanes([lane])

    def test_a_success_ends_a_row_of_failures_in_this_process(self, gates):
        with LoadingOllama(bad=lambda n: None if n == 5 else Bad(500)) as server:
            model = factories.make_model(base_url=server.base_url, slots=1)
            target = routing.target_for(model)
            for n in range(9):
                with contextlib.suppress(ProviderError):
                    request = CompletionRequest(model.name, (Message("user", str(n)),))
                    routing.whole(routing.call(target, request))
                assert not routing.pause_of(target)
            assert len(server.refused) == 8

    def test_cells_go_where_they_are_answered(self, gates):
        with LoadingOllama(call_s=0.02) as server:
            model = factories.make_model(slots=4)
            self.add(model, server.base_url, slots=4)
            crew = Crew([Group(model, "k", [str(n) for n in range(60)])])
            crew.start()
            crew.finish()
            assert sum(server.calls.values()) == 60
            # Five in a row, and the calls that were in the air then.
            assert sum(error is not None for error in crew.outcomes) <= 12

    def test_an_outage_is_not_run_into_again_and_again(self, gates):
        outage_s, retry_after_s, most = 3.0, 1.0, 4
        down_until = time.monotonic() + 1 + outage_s

        def bad(number):
            now = time.monotonic()
            return Bad(503, str(int(retry_after_s))) if down_until - outage_s < now < down_until else None

        with LoadingOllama(call_s=0.02, bad=bad) as server:
            model = factories.make_model(base_url=server.base_url, slots=most)
            crews = [Crew([Group(model, "k", [f"{n}-{i}" for i in range(150)])], slice_s=2) for n in range(4)]
            work(crews)
            print(f"{len(server.refused)} refused")
            assert 0 < len(server.refused) <= most * outage_s / retry_after_s * 1.5
            assert sum(server.calls.values()) == 600

    def test_all_cells_succeed_through_a_mix_of_refusals_and_silence(self, gates):
        dice = random.Random(7)
        mix = [Bad(429, "0.2"), Bad(503, "0.2"), Bad(503), Bad(0, silent_s=0.5)]
        fates = [dice.choice(mix) if dice.random() < 0.3 else None for _ in range(2000)]
        with LoadingOllama(call_s=0.01, bad=lambda number: fates[number]) as server:
            model = factories.make_model(base_url=server.base_url, slots=8)
            Provider.objects.filter(pk=model.provider_id).update(first_token_timeout=0.3)
            model.provider.refresh_from_db()
            crew = Crew([Group(model, "k", [str(n) for n in range(100)])], deadline_s=90)
            crew.start()
            crew.finish()
            assert len(server.refused) > 10
            assert sorted(server.calls) == sorted(str(n) for n in range(100))

    def test_a_name_that_means_no_endpoint_is_no_trouble(self, gates):
        routing.report([])
        assert routing.in_demand([]) == 0
        slots.change_gate(new_id(), lambda gate: gate.succeeded())
