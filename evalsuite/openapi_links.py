"""Links of the API's document: which operations take the ids that an answer tells.

Derived from names, so that no route has to say it. An answer `{"experiment": {"id": ...}}` tells an
`experiment_id`, `{"runs": [{"batchId": ...}]}` a `batch_id`; whatever has such an id last in its address
is linked, if the answer and the request together know the ids before it as well.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

Takers = dict[str, list[tuple[str, list[str]]]]


def link_operations(result: Any, **_: Any) -> Any:
    """A hook for the generator, after all other words of the document are there."""
    takers = _takers(result["paths"])
    schemas = result["components"]["schemas"]
    for path, operation in _operations(result["paths"]):
        known = _ids_of_address(path, operation)
        for status, response in operation["responses"].items():
            if status.startswith("2") and (links := _links(response, known, takers, schemas)):
                response["links"] = links
    return result


def _operations(paths: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((path, operation) for path, methods in paths.items() for operation in methods.values())


def _ids_of_address(path: str, operation: Any) -> list[str]:
    """In their order. Words to choose from, such as the kind of an export, are none."""
    words = {
        one["name"]
        for one in operation.get("parameters", [])
        if one["in"] == "path" and "enum" in one["schema"]
    }
    return [name for name in re.findall(r"\{(\w+)\}", path) if name not in words]


def _takers(paths: dict[str, Any]) -> Takers:
    """By the last id of an address: the operations, and all ids of it."""
    takers = defaultdict(list)
    for path, operation in _operations(paths):
        if ids := _ids_of_address(path, operation):
            takers[ids[-1]].append((operation["operationId"], ids))
    return takers


def _links(response: Any, known: list[str], takers: Takers, schemas: Any) -> dict[str, Any]:
    """Only to what takes an id that the request did not know by itself."""
    answer = response.get("content", {}).get("application/json", {}).get("schema", {})
    told = {name: f"$response.body#{at}" for name, at in _ids_told(answer, schemas)}
    values = told | {name: f"$request.path.{name}" for name in known}
    return {
        operation_id: {"operationId": operation_id, "parameters": {name: values[name] for name in ids}}
        for last in sorted(told.keys() - set(known))
        for operation_id, ids in takers.get(last, [])
        if values.keys() >= set(ids)
    }


def _ids_told(answer: Any, schemas: Any) -> Iterator[tuple[str, str]]:
    """Whatever could be an id and where it is: in the answer, in what it wraps, in the first of its list."""
    for key, described in _properties(answer, schemas).items():
        is_list = described.get("type") == "array"
        inner, at = (described["items"], f"/{key}/0") if is_list else (described, f"/{key}")
        properties = _properties(inner, schemas)
        if not properties:
            yield _snake(key), at
        for name in properties:
            yield (f"{_noun(key)}_id" if name == "id" else _snake(name)), f"{at}/{name}"


def _properties(schema: Any, schemas: Any) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    properties: dict[str, Any] = schemas.get(name, schema).get("properties", {})
    return properties


def _noun(key: str) -> str:
    """`profile` for `chatProfile` and `chatProfiles`, `batch` for `batches`."""
    return re.sub(r"(?<=ch)es$|s$", "", _snake(key).rpartition("_")[2])


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
