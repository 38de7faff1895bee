"""Answers for machines: one JSON document on stdout."""

import dataclasses
import json
import math
from typing import Any


def print_json(**content: Any) -> None:
    """Print frames, dataclasses, arrays and plain values as one JSON document; what is not finite becomes null."""
    print(json.dumps(_plain(content), allow_nan=False))


def _plain(content: Any) -> Any:
    if hasattr(content, "to_dict"):
        return _plain(content.to_dict("records"))
    if dataclasses.is_dataclass(content):
        return {each.name: _plain(getattr(content, each.name)) for each in dataclasses.fields(content)}
    if isinstance(content, dict):
        return {str(name): _plain(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    if hasattr(content, "tolist"):
        return _plain(content.tolist())
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    return content if isinstance(content, (str, int, bool, type(None))) else str(content)
