"""What the API takes and gives: bodies with bounds; what is absurd is refused at the door."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from schemas.envelope import to_json
from schemas.limits import MAX_NAME_CHARACTERS, MAX_TEXT_CHARACTERS
from streams.control import MOST_INSTANCES
from web.access import Role
from web.actions import AlertWord

Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)]
Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]
Words = Annotated[str, Field(max_length=MAX_NAME_CHARACTERS)]
PlainVerb = Literal["start", "stop", "restart"]
Place = Annotated[int, Field(ge=0, le=2**63 - 1)]


class Body(BaseModel):
    """Unknown fields are refused: a misspelt one would be lost in silence."""

    model_config = ConfigDict(extra="forbid")


class Question(Body):
    """A text for the kernel."""

    text: Text
    task: Name = "sentiment"
    target: Name | None = None
    thread: Name | None = Field(
        default=None,
        description="Key of the answer, for which agents count it; without one nobody does.",
    )
    timeout_s: float = Field(default=10.0, gt=0, le=60)


class NewEvent(Body):
    """A text for the feed; the reader finds its companies and asks about each."""

    text: Text
    id: Name | None = None
    tickers: list[Name] = Field(default=[], max_length=100)
    source: Words = "api"
    published_at: AwareDatetime | None = None
    timeout_s: float = Field(default=10.0, gt=0, le=60)


class Explanation(Body):
    """Which words of a text moved its score; for the label that the model gives, or another."""

    text: Text
    task: Name = "sentiment"
    target: Name | None = None
    label: Name


class NewLabel(Body):
    """The right label of a text."""

    text: Text
    label: Name
    task: Name = "sentiment"
    target: Name | None = None


class AlertChange(Body):
    """What somebody decides about an alert."""

    state: AlertWord
    reason: Words = ""
    until: AwareDatetime | None = None


class Promotion(Body):
    """Why a version shall be live."""

    reason: Name


class Replay(Body):
    """Which dead letters to put back: by id, or all of an error class."""

    ids: list[Name] = Field(default=[], max_length=500)
    error_class: Words = ""


class Edited(Body):
    """The value to publish in place of the original's."""

    value: Annotated[str, Field(max_length=2 * MAX_TEXT_CHARACTERS)]


class Instances(Body):
    """How many of a service shall run on this machine."""

    count: int = Field(ge=0, le=MOST_INSTANCES)


class NewUser(Body):
    """Role and password of a user."""

    role: Role
    password: Annotated[str, Field(max_length=256)]


class NewToken(Body):
    """A token for a program."""

    name: Annotated[str, Field(min_length=1, max_length=64)]
    role: Role


def plain(value: Any) -> Any:
    """An event as JSON types; bytes as base64."""
    return orjson.loads(to_json(value))
