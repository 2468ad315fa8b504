"""What is written down with a run."""

from pathlib import Path

import pytest
import yaml

from pipeline.config import read_project
from pipeline.config.sections import Config
from pipeline.local.run_record import as_written

EXAMPLES = sorted(Path(__file__).parents[3].glob("examples/*/pipeline.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=[each.parent.name for each in EXAMPLES])
def test_a_configuration_reads_back_as_it_was_run(file: Path) -> None:
    config = read_project(file).config
    written = as_written(config)
    assert [each["kind"] for each in written.get("features", [])] == [
        one.kind for one in config.features
    ]
    again = Config.model_validate(yaml.safe_load(yaml.safe_dump(written)))
    assert again == config
