"""The contracts are valid, by the standards' own validators, and say what the service does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from eventmill import Service, Topic, event_type
from eventmill.http import asyncapi, openapi
from eventmill.model import codec
from eventmill.node.checking import checked
from examples.shopping_cart import shop
from tests.endpoints import shop as web
from tests.faults import biller
from tests.flow import arcade, journeys
from tests.http import serving
from tests.http.serving import session

SCHEMA = Path(__file__).parent / "asyncapi" / "3.0.0-without-$id.json"


def plain(document: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(codec.encode(document))
    return data


@pytest.fixture(
    params=[
        serving.service,
        shop.service,
        biller.service,
        web.service,
        journeys.service,
        arcade.arcade,
    ],
    ids=lambda s: s.name,
)
def service(request: pytest.FixtureRequest) -> Service:
    found: Service = request.param
    return found


def test_openapi_is_valid(service: Service) -> None:
    document = plain(openapi.document(checked(service)))
    assert document["openapi"] == "3.1.0"
    errors = list(OpenAPIV31SpecValidator(document).iter_errors())
    assert errors == []


def test_asyncapi_is_valid(service: Service) -> None:
    document = plain(asyncapi.document(checked(service)))
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()))
    assert [f"{e.json_path}: {e.message}" for e in validator.iter_errors(document)] == []
    broken = {**document, "channels": {"moves": {"address": 7}}}
    assert not validator.is_valid(broken), "the schema is really looked at"


def test_every_reference_leads_somewhere(service: Service) -> None:
    for document in (openapi.document(checked(service)), asyncapi.document(checked(service))):
        data = plain(document)
        references = list(_references(data))
        assert references
        for reference in references:
            found: Any = data
            for part in reference.removeprefix("#/").split("/"):
                found = found[part.replace("~1", "/")]


def test_openapi_tells_a_services_own_routes() -> None:
    paths = plain(openapi.document(checked(web.service)))["paths"]
    cart = paths["/shop/carts/{id}"]["get"]
    assert cart["summary"] == "Show a cart."
    assert [(p["name"], p["in"]) for p in cart["parameters"]] == [("id", "path"), ("only", "query")]
    add = paths["/shop/carts/{id}/items"]["post"]
    assert add["requestBody"]["content"]["application/json"]["schema"]["required"] == ["sku"]
    assert "201" in add["responses"]
    wish = paths["/shop/wishes/{who}"]["put"]
    body = wish["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Wish"}
    assert "204" in wish["responses"]
    assert (
        "text/event-stream" in paths["/shop/numbers/{begin}"]["get"]["responses"]["200"]["content"]
    )
    assert "101" in paths["/shop/talk/{room}"]["get"]["responses"]
    assert {"get", "post"} <= paths["/echo/{rest}"].keys()
    changes = paths["/components/cart/{id}/changes"]["get"]
    assert "text/event-stream" in changes["responses"]["200"]["content"]


def test_openapi_tells_parameters_replies_and_events() -> None:
    document = plain(openapi.document(checked(serving.service)))
    fill = document["paths"]["/components/barrel/{id}/fill"]["post"]
    assert fill["summary"] == "Pour something in."
    assert fill["description"] == "A barrel holds a hundred litres."
    assert fill["requestBody"]["content"]["application/json"]["schema"] == {
        "type": "object",
        "properties": {"litres": {"type": "integer"}},
        "required": ["litres"],
        "additionalProperties": False,
    }
    answer = fill["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"type": "integer"}
    names = [header["$ref"].rpartition("/")[2] for header in fill["parameters"]]
    assert names[:2] == ["Idempotency-Key", "Request-Timeout"]
    content = document["paths"]["/components/barrel/{id}/content"]
    assert content["get"]["parameters"][0]["name"] == "in_cups"
    similar = document["paths"]["/components/barrel/{id}/similar"]["get"]["parameters"][0]
    assert {name: similar[name] for name in ("name", "in", "style", "explode", "schema")} == {
        "name": "to",
        "in": "query",
        "style": "form",
        "explode": True,
        "schema": {"type": "array", "items": {"type": "integer"}, "maxItems": 1_000},
    }
    assert "get" not in document["paths"]["/components/barrel/{id}/alike"]
    holding = document["paths"]["/views/barrels/holding"]["get"]["parameters"]
    assert [p["schema"]["items"]["type"] for p in holding] == ["number"]
    assert not holding[0]["required"]
    schemas = document["components"]["schemas"]
    assert schemas["Filled"]["properties"] == {"litres": {"type": "integer"}}
    assert schemas["Emptied"]["required"] == ["by"]
    assert schemas["Labelled"]["properties"]["label"] == {"$ref": "#/components/schemas/Label"}
    assert schemas["Label"]["properties"]["size"]["enum"] == ["s", "m"]
    rows = document["paths"]["/views/barrels/fuller_than"]["get"]["responses"]["200"]["content"]
    assert rows["application/json"]["schema"]["items"] == {"$ref": "#/components/schemas/Row"}


def test_asyncapi_tells_the_messages_of_each_channel() -> None:
    document = plain(asyncapi.document(checked(serving.service)))
    assert set(document["channels"]["moves"]["messages"]) == {
        "barrel.moved",
        "Emptied",
        "Labelled",
    }
    payload = document["components"]["messages"]["barrel.moved"]["payload"]
    assert payload["allOf"][1]["properties"] == {
        "type": {"enum": ["barrel.moved", "barrel.rolled"]},
        "data": {"$ref": "#/components/schemas/Moved"},
    }
    assert "note.eventmill.state" in document["channels"]["note"]["messages"]


def test_every_entity_can_be_asked_as_it_was() -> None:
    for service in (journeys.service, arcade.arcade):
        paths = plain(openapi.document(checked(service)))["paths"]
        for component in ("journey", "office", "player"):
            if query := paths.get(f"/components/{component}/{{id}}/content"):
                names = {parameter.get("name") for parameter in query["get"]["parameters"]}
                assert names >= {"as_of_sequence", "as_of_time"}


def test_asyncapi_tells_how_a_workflow_moves() -> None:
    document = plain(asyncapi.document(checked(journeys.service)))
    payload = document["components"]["messages"]["journey.eventmill.step"]["payload"]
    moved = payload["allOf"][1]["properties"]["data"]
    assert moved == {"$ref": "#/components/schemas/WorkflowMoved"}


def test_asyncapi_tells_what_is_received_from_other_services() -> None:
    document = plain(asyncapi.document(checked(biller.service)))
    channel = document["channels"]["shop/orders"]
    assert channel["description"].startswith("Topic 'orders' of service 'shop'")
    assert set(channel["messages"]) == {"OrderPlaced"}
    operations = {
        name: (operation["action"], operation["channel"]["$ref"])
        for name, operation in document["operations"].items()
    }
    assert operations == {
        "receive-from-shop/orders": ("receive", "#/channels/shop~1orders"),
        "react-to-bill": ("send", "#/channels/bill"),
    }


def test_two_classes_of_one_name_get_two_schemas() -> None:
    topics = [Topic("a", _made("a")), Topic("b", _made("b"))]
    document = plain(openapi.document(checked(Service("twins", topics=topics))))
    schemas = document["components"]["schemas"]
    fields = [set(schema["properties"]) for name, schema in schemas.items() if "Twin" in name]
    assert sorted(map(sorted, fields)) == [["a"], ["b"]]


async def test_the_node_serves_them(tmp_path: Path) -> None:
    async with serving.serving(tmp_path) as node, session(node) as http:
        answer = await http.get("/openapi.json")
        assert await answer.json() == plain(openapi.document(checked(serving.service)))
        answer = await http.get("/asyncapi.json")
        assert await answer.json() == plain(asyncapi.document(checked(serving.service)))


def _made(field: str) -> type:
    import msgspec

    name = "Twin"
    made = msgspec.defstruct(name, [(field, int)], module=f"module_{field}")
    return event_type(f"twin.{field}")(made)


def _references(data: Any) -> Any:
    if isinstance(data, dict):
        if isinstance(data.get("$ref"), str):
            yield data["$ref"]
        for value in data.values():
            yield from _references(value)
    elif isinstance(data, list):
        for value in data:
            yield from _references(value)
