"""The user's functions are read before anything runs: what can't work is told by file and line."""

from pathlib import Path

import pytest

from pipeline import own_code
from pipeline.config import Project, read_project
from serving.errors import UserError

YAML = """\
name: own
data: {path: trips.csv}
label: {column: fare}
task: regression
preprocessing_fn: mine.features.preprocessing_fn
run_fn: mine.training.run_fn
"""
GOOD = {
    "features.py": "import json\n\ndef preprocessing_fn(inputs):\n    return inputs\n",
    "training.py": "from mine.features import preprocessing_fn\n\ndef run_fn(fn_args, *, a=1):\n"
    "    import whatever_is_imported_later\n",
}


def project(folder: Path, **changed: str) -> Project:
    (folder / "pipeline.yaml").write_text(YAML)
    (folder / "mine").mkdir()
    for name, code in GOOD.items():
        (folder / "mine" / name).write_text(changed.get(name.removesuffix(".py"), code))
    return read_project(folder)


def test_functions_that_can_be_called_pass(tmp_path: Path) -> None:
    made = project(tmp_path)
    own_code.check(made)
    preprocessing, training = own_code.find(made)
    assert preprocessing.file == tmp_path / "mine" / "features.py"
    assert training.written_at() == f"{tmp_path / 'mine' / 'training.py'} line 3, run_fn"


@pytest.mark.parametrize(
    ("module", "code", "place", "said"),
    [
        ("training", "def run_fn():\n    pass\n", "line 1: run_fn takes ()", "run_fn(fn_args)"),
        ("training", "def run_fn(a, b):\n    pass\n", "takes (a, b)", "give the others defaults"),
        ("training", "def run_fn(a, *, b):\n    pass\n", "takes (a, *, b)", "defaults"),
        ("training", "run_gn = 3\n", "training.py defines no 'run_fn'", "did you mean 'run_gn'"),
        (
            "training",
            "import json\nimport kerass.layers\n\ndef run_fn(a):\n    pass\n",
            "training.py line 2 imports 'kerass.layers', and there is no 'kerass'",
            "install kerass",
        ),
        (
            "features",
            "from nowhere import x\n\ndef preprocessing_fn(inputs, custom_config):\n    pass\n",
            "features.py line 1 imports 'nowhere'",
            "correct the import",
        ),
        ("features", "x = {\n", "features.py line 1 is not valid Python", "mend the line"),
    ],
)
def test_what_cannot_work_is_refused(
    tmp_path: Path, module: str, code: str, place: str, said: str
) -> None:
    with pytest.raises(UserError) as caught:
        own_code.check(project(tmp_path, **{module: code}))
    assert place in caught.value.what
    assert "pipeline.yaml line" in caught.value.what
    assert said in str(caught.value)


def test_transforms_second_argument_is_no_fault(tmp_path: Path) -> None:
    code = "def preprocessing_fn(inputs, custom_config):\n    return inputs\n"
    own_code.check(project(tmp_path, features=code))
