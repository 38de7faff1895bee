"""The base of every group of fields in a configuration file.        (no jax)"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of fields; unknown ones are refused, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def tag(default: str) -> Callable[[Any], str]:
    """What tells the sections of a choice apart: their `name`, which a file may leave out for the `default`."""

    def name(value: Any) -> str:
        return str(value.get("name", default)) if isinstance(value, Mapping) else str(getattr(value, "name", value))

    return name
