"""Lanes under pressure, against a server on a socket: the peak, people first, turns of models."""

from __future__ import annotations

import threading
import time

import pytest

from evalsuite.ids import new_id
from llm_routing import routing, slots
from llm_routing.routing import Cap
from llm_routing.types import CompletionRequest, Message
from tests import factories
from tests.fakes.loading_ollama import LoadingOllama
from tests.llm_routing.crews import Crew, Group, work

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("k", [1, 4, 16])
def test_peak_never_above_the_slots_with_64_permits_around(gates, k):
    with LoadingOllama(call_s=0.01) as server:
        model = factories.make_model(base_url=server.base_url, slots=k)
        crews = [
            Crew([Group(model, "k", [f"{n}-{i}" for i in range(4)])], calls=4, slice_s=0.1) for n in range(64)
        ]
        work(crews)
        assert server.peak <= k
        assert sum(server.calls.values()) == 256
        assert len(server.loads) == 1


def test_a_batch_keeps_to_its_own_limit(gates):
    with LoadingOllama(call_s=0.01) as server:
        model = factories.make_model(base_url=server.base_url, slots=16)
        cap = Cap(new_id(), 3)
        work([Crew([Group(model, "k", [f"{n}-{i}" for i in range(10)])], caps=[cap]) for n in range(4)])
        assert server.peak == 3


def test_a_person_is_served_within_one_cell_s_time(gates):
    cell_s = 0.3
    with LoadingOllama(call_s=cell_s) as server:
        model = factories.make_model(base_url=server.base_url, slots=4)
        prompts = [str(n) for n in range(500)]
        groups = [[Group(model, "k", prompts[n::4])] for n in range(4)]
        crews = [Crew(group, slice_s=5, deadline_s=90) for group in groups]
        for crew in crews:
            crew.start()
        while len(server.came) < 8:
            time.sleep(0.01)
        for group in groups:
            assert group[0].left
        waits = []
        for n in range(3):
            asked = time.monotonic()
            request = CompletionRequest(model.name, (Message("user", f"person {n}"),))
            completion = routing.whole(routing.stream(routing.target_for(model), request, wait_s=10))
            assert completion.content == f"echo: person {n}"
            waits.append(next(one.came for one in server.served if one.prompt == f"person {n}") - asked)
        for group in groups:  # the rest of the batch is of no interest
            for one in group:
                one.prompts.clear()
                one.left = 0
        for crew in crews:
            crew.finish()
        assert max(waits) <= cell_s + 0.2  # and the time of a poll
        assert server.peak <= 4


def test_k_models_need_k_loads(gates):
    load_s, call_s, most, models, cells = 3.0, 0.2, 4, 3, 40
    with LoadingOllama(load_s=load_s, call_s=call_s, parallel=most) as server:
        names = [f"m{n}:1b" for n in range(models)]
        rows = [factories.make_model(name, base_url=server.base_url, slots=most) for name in names]
        batch = new_id()
        # Three permits of one batch.
        groups = [Group(row, "num_ctx=4096", [f"{row.name}-{i}" for i in range(cells)]) for row in rows]
        crews = [Crew(groups, caps=[Cap(batch, 16)]) for _ in range(3)]
        work(crews)
        assert sorted(name for name, _ in server.loads) == names
        assert server.warm_ups == server.loads
        # By the server's clock: what its loads and answers took, and all that passed.
        bound = models * load_s + sum(one.ended - one.began for one in server.served) / most
        took = max(one.ended for one in server.served) - server.first_asked
        print(f"{took:.2f} s, at least {bound:.2f} s")
        assert took <= bound * 1.1


def test_two_batches_on_one_model_share_a_load_and_a_third_waits(gates):
    with LoadingOllama(load_s=0.5, call_s=0.05, parallel=4) as server:
        one = factories.make_model("one:1b", base_url=server.base_url, slots=4)
        other = factories.make_model("other:1b", base_url=server.base_url, slots=4)
        crews = [
            Crew([Group(model, "k", [f"{n}-{i}" for i in range(30)])], caps=[Cap(new_id(), 8)], slice_s=0.3)
            for n, model in enumerate([one, one, other])
        ]
        work(crews)
        assert len(server.loads) == 2


def test_a_turn_ends_when_others_have_waited_long_enough(gates, settings):
    settings.MODEL_TURN = 0.6
    with LoadingOllama(load_s=0.1, call_s=0.05, parallel=2) as server:
        one = factories.make_model("one:1b", base_url=server.base_url, slots=2)
        other = factories.make_model("other:1b", base_url=server.base_url, slots=2)
        long = Crew([Group(one, "k", [f"a{i}" for i in range(80)])], caps=[Cap(new_id(), 8)])
        short = Crew([Group(other, "k", [f"b{i}" for i in range(4)])], caps=[Cap(new_id(), 8)])
        long.start()
        while len(server.served) < 2:
            time.sleep(0.01)
        short.start()
        short.finish()
        assert long.groups[0].left > 20
        long.finish()
        assert [name for name, _ in server.loads] == ["one:1b", "other:1b", "one:1b"]


def test_a_batch_alone_is_not_driven_from_model_to_model(gates, settings):
    settings.MODEL_TURN = 0.2
    with LoadingOllama(load_s=0.1, call_s=0.05, parallel=2) as server:
        models = [factories.make_model(f"m{n}:1b", base_url=server.base_url, slots=2) for n in range(2)]
        groups = [Group(model, "k", [f"{model.name}{i}" for i in range(30)]) for model in models]
        work([Crew(groups, caps=[Cap(new_id(), 8)])])
        assert len(server.loads) == 2


def test_a_person_does_not_wait_for_a_turn(gates):
    with LoadingOllama(call_s=0.2) as server:
        one = factories.make_model("one:1b", base_url=server.base_url, slots=4)
        other = factories.make_model("other:1b", base_url=server.base_url, slots=4)
        [lane] = routing.open_lanes(one, "k", 4)
        asked = time.monotonic()
        request = CompletionRequest("other:1b", (Message("user", "hi"),))
        routing.whole(routing.stream(routing.target_for(other), request, wait_s=20))
        assert time.monotonic() - asked < 10
        assert routing.open_lanes(other, "k", 1) == []
        routing.close_lanes([lane], over=True)


def test_the_others_wait_until_the_first_lane_has_loaded(gates):
    with LoadingOllama(load_s=0.4) as server:
        model = factories.make_model(base_url=server.base_url, slots=4)
        [lane] = routing.open_lanes(model, "k", 4)
        assert lane.target.warm_up
        assert routing.open_lanes(model, "k", 4) == []
        request = CompletionRequest(model.name, (Message("user", "hi"),))
        calling = threading.Thread(target=lambda: routing.whole(routing.call(lane.target, request)))
        calling.start()
        while not server.warm_ups:
            time.sleep(0.01)
        assert routing.open_lanes(model, "k", 4) == []
        calling.join(5)
        rest = routing.open_lanes(model, "k", 4)
        assert len(rest) == 3
        assert not any(other.target.warm_up for other in rest)
        routing.close_lanes([lane, *rest])
        # The permit's successor finds the model in memory.
        again = routing.open_lanes(model, "k", 4)
        assert len(again) == 4
        routing.whole(routing.call(again[0].target, request))
        assert len(server.warm_ups) == 1
        routing.close_lanes(again)


def test_a_lane_that_is_closed_before_it_loaded_leaves_that_to_the_next(gates):
    model = factories.make_model(slots=4)
    [first] = routing.open_lanes(model, "k", 4)
    routing.close_lanes([first])
    [second] = routing.open_lanes(model, "k", 4)
    assert second.target.warm_up
    routing.close_lanes([second])


def test_servers_that_do_not_load_on_demand_take_no_turns(gates):
    one = factories.make_model("one", kind="openai_compatible", slug="v1", slots=4)
    other = factories.make_model("other", kind="openai_compatible", slug="v1", slots=4)
    lanes = routing.open_lanes(one, "k", 2) + routing.open_lanes(other, "k", 2)
    assert len(lanes) == 4
    assert not any(lane.target.warm_up for lane in lanes)
    routing.close_lanes(lanes)
    assert slots.held_for(lanes[0].target.endpoint_id) == 0
