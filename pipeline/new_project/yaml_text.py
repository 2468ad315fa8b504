"""Text as a YAML scalar."""

from __future__ import annotations

import json
import re

__all__ = ["scalar"]

_PLAIN = re.compile(r"^[A-Za-z][A-Za-z0-9_]*$")
_YAML_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def scalar(text: str) -> str:
    """Writes text so that YAML reads it back as the same text, inside braces too."""
    if _PLAIN.match(text) and text.casefold() not in _YAML_WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)
