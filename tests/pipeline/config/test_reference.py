"""The page about the configuration says what the code says."""

from pathlib import Path

from pipeline.config import reference
from pipeline.config.sections import Config

PAGE = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"


def test_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference.markdown(), "run `make docs`"


def test_every_key_is_on_the_page_with_its_meaning() -> None:
    text = reference.markdown()
    for name, field in Config.model_fields.items():
        assert f"| `{field.alias or name}` |" in text
        assert field.description
        assert " ".join(field.description.split())[:40] in text
