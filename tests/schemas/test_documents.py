"""The documents made from the types: current, and valid by their own rules."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from schemas import documents
from schemas.asyncapi import asyncapi
from schemas.envelope import TYPES, encode, to_json
from schemas.events import Event
from schemas.json_schemas import file_name, json_schema
from schemas.topics import CATALOGUE
from tests.support.strategies import events_of

kinds = pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)


def test_the_documents_of_this_tree_are_current() -> None:
    assert documents.differing() == []


def test_a_document_that_was_edited_or_is_missing_or_left_over_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert documents.main([], tmp_path) == 0
    assert documents.main(["--check"], tmp_path) == 0
    capsys.readouterr()
    (tmp_path / "asyncapi.yaml").write_text("asyncapi: 3.0.0\n")
    (tmp_path / "schemas/headrace.kernel.result.v1.json").unlink()
    (tmp_path / "schemas/headrace.kernel.result.v0.json").write_text("{}")
    assert documents.main(["--check"], tmp_path) == 1
    said = capsys.readouterr().err
    for name in ("asyncapi.yaml", "result.v1.json", "result.v0.json", "make docs"):
        assert name in said
    assert documents.main([], tmp_path) == 0
    assert documents.differing(tmp_path) == []
    assert not (tmp_path / "schemas/headrace.kernel.result.v0.json").exists()


def test_the_check_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "schemas.documents", "--check"],
        cwd=documents.FOLDER.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@kinds
def test_a_schema_is_valid_draft_2020_12_and_complete_in_itself(kind: type[Event]) -> None:
    schema = json_schema(kind)
    jsonschema.Draft202012Validator.check_schema(schema)
    for reference in _references(schema):
        assert reference.startswith("#/$defs/")
        assert reference.removeprefix("#/$defs/") in schema["$defs"]


@kinds
def test_what_is_written_keeps_to_the_published_schema(kind: type[Event]) -> None:
    validator = jsonschema.Draft202012Validator(json_schema(kind))

    @given(events_of(kind))
    def every(event: Event) -> None:
        validator.validate(json.loads(to_json(event)))

    every()


def test_the_words_under_a_field_are_its_description() -> None:
    properties = json_schema(next(kind for kind in TYPES if kind.__name__ == "KernelRequest"))
    assert properties["properties"]["thread"]["description"].startswith("The key that the answer")
    cause = properties["$defs"]["Cause"]["prefixItems"]
    assert [item["title"] for item in cause] == ["agent", "topic", "partition", "offset", "index"]


def test_asyncapi_has_a_channel_for_each_topic_with_its_settings() -> None:
    document = asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert {channel["address"] for channel in document["channels"].values()} == set(CATALOGUE)
    models = document["channels"]["kernel.models"]["bindings"]["kafka"]
    assert models["partitions"] == 1
    assert models["topicConfiguration"]["cleanup.policy"] == ["compact"]
    for channel in document["channels"].values():
        assert channel["messages"]
        assert channel["description"]


def test_every_reference_of_asyncapi_leads_somewhere() -> None:
    document = asyncapi()
    found = _references(document)
    assert found
    for reference in found:
        if reference.startswith("./"):
            assert reference.removeprefix("./") in documents.documents()
            continue
        here: Any = document
        for step in reference.removeprefix("#/").split("/"):
            here = here[step]


def test_every_operation_uses_messages_of_its_own_channel() -> None:
    document = asyncapi()
    for operation in document["operations"].values():
        assert operation["action"] in {"send", "receive"}
        channel = operation["channel"]["$ref"]
        for message in operation.get("messages", []):
            assert message["$ref"].startswith(f"{channel}/messages/")


def test_every_message_has_a_payload_and_the_headers_of_its_type() -> None:
    messages = asyncapi()["components"]["messages"]
    for message in messages.values():
        assert message["payload"]["schema"]["$ref"] == f"./schemas/{message['name']}.json"
        properties = message["headers"]["properties"]
        assert properties["ce_type"]["const"] == message["name"]
    assert {f"./schemas/{file_name(kind)}" for kind in TYPES} == {
        message["payload"]["schema"]["$ref"] for message in messages.values()
    }


def test_the_yaml_says_what_the_document_says() -> None:
    assert yaml.safe_load(documents.documents()["asyncapi.yaml"]) == asyncapi()


@given(st.data())
def test_a_written_event_has_exactly_the_stated_headers(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(TYPES)))
    _, headers = encode(data.draw(events_of(kind)), "test")
    stated = asyncapi()["components"]["messages"][kind.__name__]["headers"]
    written = {name: content.decode() for name, content in headers}
    jsonschema.validate(written, {**stated, "additionalProperties": False})
    assert set(written) == set(stated["properties"])


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return own + [found for value in node.values() for found in _references(value)]
    if isinstance(node, list):
        return [found for value in node for found in _references(value)]
    return []
