"""Executors that need TensorFlow load it without what they don't use, and it is there when asked.

The parts that were left out are used here, and compared with the real modules.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

CODE = """
import importlib, json, sys, types
from pipeline.launching import launch
for name in sys.argv[1:]:
    module, _, attribute = name.rpartition(".")
    getattr(importlib.import_module(module), attribute)
def loaded(name):
    return name in sys.modules and "__getattr__" not in vars(sys.modules[name])
left_out = ["keras", "IPython.core", "ipywidgets", "nltk.classify", "sklearn",
            "scipy.stats._morestats", "tf_keras.src.datasets.mnist", "google.cloud.pubsub_v1",
            "google.cloud.dataflow_v1beta3"]
found = {"loaded": [name for name in left_out if loaded(name)]}

def real(module):
    "The upstream module, run beside the stand-in."
    spec = importlib.util.spec_from_file_location("copy_" + module.__name__.replace(".", "_"),
                                                  module.__spec__.origin)
    copy = importlib.util.module_from_spec(spec)
    copy.__package__ = module.__package__
    spec.loader.exec_module(copy)
    return copy

def public(module):
    return {name for name in vars(module) if name[0] != "_"}

import tensorflow as tf
import tensorflow_model_analysis as tfma
from rouge_score import tokenizers
from scipy import ndimage, stats
import nltk, IPython.display, tf_keras
from google.cloud import dataflow, pubsub
from googleapiclient import discovery
from tensorflow_model_analysis.utils import keras_lib
found["works"] = [
    tokenizers.DefaultTokenizer(use_stemmer=True).tokenize("running dogs"),
    round(float(stats.t.ppf(0.975, 10)), 4),
    ndimage.zoom([[1.0]], 2).shape,
    nltk.stem.porter.PorterStemmer().stem("running"),
    nltk.word_tokenize.__name__,
    IPython.display.HTML("<b>x</b>").data,
    tf_keras.datasets.mnist.load_data.__name__,
    tfma.view.render_slicing_metrics.__code__.co_name,
    pubsub.PublisherClient.__name__,
    dataflow.JobsV1Beta3Client.__name__,
    discovery.build.__name__,
    tf.keras.layers.Dense(2)(tf.ones([1, 3])).shape.as_list(),
    isinstance(tf.keras.optimizers.get("adam"), tf.keras.optimizers.Optimizer),
]
copy = real(keras_lib)
found["keras_2"] = sorted(public(copy) - public(keras_lib) - {"tf", "version_fn"})
found["keras_2_same"] = [getattr(copy, n) is getattr(keras_lib, n)
                         for n in ("tf_keras", "tf_keras_v1", "tf_keras_v2")]
from tfx.components.util import tfxio_utils
found["readers"] = sorted(n for n in public(real(tfxio_utils)) if not hasattr(tfxio_utils, n))
print(json.dumps(found))
"""


def test_what_is_left_out_of_evaluator_and_transform_works_when_it_is_used() -> None:
    inherited = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, "components.evaluation.evaluator.Executor",
         "tfx.components.trainer.executor.GenericExecutor"],
        cwd=ROOT,
        env={**inherited, "CUDA_VISIBLE_DEVICES": "-1"},
        capture_output=True,
        text=True,
        timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["loaded"] == []
    assert found["works"] == [
        ["run", "dog"], 2.2281, [2, 2], "run", "word_tokenize", "<b>x</b>", "load_data",
        "render_slicing_metrics", "PublisherClient", "JobsV1Beta3Client", "build", [1, 2], True,
    ]  # fmt: skip
    assert found["keras_2"] == []
    assert found["keras_2_same"] == [True, True, True]
    assert found["readers"] == []


def test_tensorflow_still_takes_a_missing_keras_and_keras_registers_nothing() -> None:
    """The two facts on which leaving Keras out rests."""
    tensorflow = importlib.util.find_spec("tensorflow")
    assert tensorflow is not None
    assert tensorflow.origin is not None
    text = Path(tensorflow.origin).read_text()
    eager = text[text.index("# Do an eager load for Keras' code") :]
    assert 'importlib.import_module("keras.src.optimizers")' in eager
    assert "except (ImportError, AttributeError):\n  pass" in eager
    keras = Path(tensorflow.origin).parents[1] / "keras" / "src"
    registering = [
        str(file.relative_to(keras))
        for file in keras.rglob("*.py")
        if "register_revived_type" in file.read_text()
    ]
    assert registering == []
