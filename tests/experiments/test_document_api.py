"""The API's document: complete, and without a warning of its generator."""

from __future__ import annotations

import pytest
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator

from experiments.urls import api_urlpatterns


@pytest.fixture(scope="module")
def document():
    GENERATOR_STATS.reset()
    generator = SchemaGenerator(patterns=api_urlpatterns)
    with GENERATOR_STATS.silence():
        return generator.get_schema(public=True)


def operations(document):
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if not path.endswith("/events")
    ]


def test_no_two_components_share_a_name(document):
    said = [str(text) for text in (*GENERATOR_STATS._warn_cache, *GENERATOR_STATS._error_cache)]
    assert not [text for text in said if "identical names" in text or "unable to guess" in text]


def test_every_operation_declares_its_errors_in_the_one_shape(document):
    for path, method, operation in operations(document):
        expected = {"401", "403", "404"} | ({"400", "413", "415"} if method in ("post", "patch") else set())
        assert expected <= operation["responses"].keys(), (path, method)
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert response["content"]["application/json"]["schema"]["$ref"].endswith("/Error")


def test_every_operation_has_a_name_of_its_own(document):
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    assert {"experiment_list", "experiment_run", "run_feedback", "score_create"} <= set(names)


def test_bodies_that_refuse_unknown_fields_say_so(document):
    for name, schema in document["components"]["schemas"].items():
        if name.endswith(("BodyRequest", "ChangesRequest")):
            assert schema["additionalProperties"] is False, name


def test_free_json_is_documented_as_an_object(document):
    body = document["components"]["schemas"]["ExperimentBodyRequest"]["properties"]
    assert body["metadata"]["type"] == "object"
    config = document["components"]["schemas"]["ConfigKeysRequest"]["properties"]
    assert {"promptTemplate", "numCtx", "think", "tools"} <= config.keys()
