"""What a field may be, in words, for models of ours and of anybody's plugin."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from pydantic import BaseModel, Field

from kcl_app.field_words import kind_of


class Inner(BaseModel):
    pass


@pytest.mark.parametrize(
    ("annotation", "metadata", "words"),
    [
        (bool, [], "`true` or `false`"),
        (Annotated[int, Field(ge=1)], [], "whole number"),
        (str | None, [], "text, or unset"),
        (Optional[Path], [], "path, or unset"),  # noqa: UP045
        (Union[int, str], [], "whole number, or text"),  # noqa: UP007
        (Literal["a", "b"], [], "`a`, `b`"),
        (tuple[str, ...], [], "list of texts"),
        (list[int], [], "list of whole numbers"),
        (frozenset[str], [], "list of texts"),
        (list, [], "list"),
        (dict[str, int], [], "table"),
        (dict, [], "table"),
        (Inner, [], "table"),
        (date, [], "date"),
        (Any, [], "Any"),
    ],
)
def test_every_kind_of_annotation_has_words(annotation: Any, metadata: list[Any], words: str) -> None:
    assert kind_of(annotation, metadata) == words


def test_bounds_are_told() -> None:
    class Model(BaseModel):
        number: int = Field(3, ge=1, le=9)
        above: float = Field(1, gt=0)
        text: str = Field("a", pattern="^a$")

    said = {name: kind_of(field.annotation, field.metadata) for name, field in Model.model_fields.items()}
    assert said == {
        "number": "whole number, 1 to 9",
        "above": "number, above 0",
        "text": "text, like `^a$`",
    }
