"""The stand-ins do what the real modules do, and TensorFlow stays out."""

import json
import subprocess
import sys
from pathlib import Path

CODE = """
import json, sys, time
started = time.monotonic()
from pipeline.launching import launch
seconds = time.monotonic() - started
heavy = [name for name in ("tensorflow", "keras", "tensorflow_model_analysis", "kubernetes",
                           "tensorflow_data_validation", "google.cloud.aiplatform")
         if name in sys.modules]
from tfx.dsl.io import fileio
fileio.makedirs(sys.argv[1] + "/a")
with fileio.open(sys.argv[1] + "/a/b", "w") as stream:
    stream.write("text")
from tfx.utils import io_utils
fingerprint = io_utils.generate_fingerprint("train", sys.argv[1] + "/a/*")
still = "tensorflow" in sys.modules

from tfx.utils import doc_controls
lean_names = set(dir(doc_controls))
from tfx.dsl.io.plugins import tensorflow_gfile
lean_operations = {name for name in dir(tensorflow_gfile.TensorflowFilesystem) if name[0] != "_"}
import tfx.components
trainer = tfx.components.Trainer.__name__
from tfx.components.example_gen import utils
pattern = utils.SPAN_PROPERTY_NAME, callable(utils.generate_output_split_names)
exists = tensorflow_gfile.TensorflowFilesystem.exists(sys.argv[1] + "/a/b")
real = sys.modules["tfx.dsl.io.plugins.tensorflow_gfile_real"].TensorflowFilesystem
import importlib.util
spec = importlib.util.spec_from_file_location("real_doc_controls", doc_controls.__spec__.origin)
real_doc = importlib.util.module_from_spec(spec)
spec.loader.exec_module(real_doc)
public = lambda module: {name for name in dir(module) if name[0] != "_" and name != "doc_controls"}
print(json.dumps(dict(
    seconds=seconds, heavy=heavy, still=still, fingerprint=fingerprint, trainer=trainer,
    pattern=pattern, exists=exists,
    operations_missing=sorted({n for n in dir(real) if n[0] != "_"} - lean_operations),
    names_missing=sorted(public(real_doc) - lean_names),
)))
"""


def test_launcher_loads_without_tensorflow_and_stand_ins_answer_like_the_real(
    tmp_path: Path,
) -> None:
    run = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.strip().splitlines()[-1])
    assert found["heavy"] == []
    assert not found["still"]
    assert "total_bytes:4" in found["fingerprint"]
    assert found["trainer"] == "Trainer"
    assert found["pattern"] == ["span", True]
    assert found["exists"]
    assert found["operations_missing"] == []
    assert found["names_missing"] == []
