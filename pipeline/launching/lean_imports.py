"""Lets TFX's launcher load without TensorFlow, Beam and TFMA: half a second instead of nine.

Importing any part of TFX 1.21 pulls in TensorFlow, although resolving inputs, looking into the
cache and publishing outputs need none of it. A few upstream modules are the cause, and each gets
a stand-in that does the same for the launcher and loads the real thing when it is used:

- `tfx.utils.doc_controls` imports TensorFlow's documentation decorators;
- `tfx.dsl.io.plugins.tensorflow_gfile` imports TensorFlow for every path, local ones too;
- `tfx.components` (the package) imports every component and with it TFMA, TFDV and Keras;
- `tfx.components.example_gen.utils` imports TensorFlow for the tf.Example classes, while the
  resolvers need the name of one property from it;
- the operators of Beam and Docker import those libraries, whatever kind of step is launched;
- `tfx.utils.telemetry_utils` imports Google's HTTP client for one class that the launcher
  never uses, `tfx.types.standard_component_specs` TFMA for the evaluator's alone.

Executors that do need TensorFlow pay for more than that. What they never use is left for a first
use, which most pipelines don't make: Keras loads scikit-learn for its wrappers and IPython for a
file browser, BigQuery's client (which Beam loads) IPython for a progress bar, TFMA SciPy's
statistics for confidence intervals and nltk for texts, tf_keras data sets of its own. TensorFlow
itself imports Keras when it is imported; here Keras waits until someone asks for it. TFX's trainer
makes readers of the examples through tfx_bsl, which imports Beam; here that happens when a reader
is used.

Source: those files in the tfx 1.21.0, tensorflow 2.21, keras 3 and TFMA 0.52 wheels. Tests hold
the stand-ins against the real modules, so that an upstream which adds to them is noticed.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import FrameType, ModuleType, SimpleNamespace
from typing import Any

from pipeline.launching.first_use import WHOLE, FirstUse, load_packages_of, names_later

__all__ = ["install"]

_GFILE = "tfx.dsl.io.plugins.tensorflow_gfile"
_DOC_CONTROLS = "tfx.utils.doc_controls"
_COMPONENTS = "tfx.components"
_SPAN_PATTERNS = "tfx.components.example_gen.utils"
_OPERATORS = {
    "tfx.orchestration.portable.beam_executor_operator": "BeamExecutorOperator",
    "tfx.orchestration.portable.docker_executor_operator": "DockerExecutorOperator",
}
"""Modules with one class each, of which the launcher keeps a table."""


@dataclass(frozen=True)
class _Heavy:
    """What a module imports for the sake of one class.

    Attributes:
        needed_for: the class, which is loaded on demand.
        dummies: modules that stand there meanwhile, with what is asked of them.
    """

    needed_for: str
    dummies: Mapping[str, Mapping[str, Any]]


_HEAVY = {
    "tfx.utils.telemetry_utils": _Heavy(
        "TFXHttpRequest",
        {
            "googleapiclient": {"http": SimpleNamespace(HttpRequest=object)},
        },
    ),
    "tfx.types.standard_component_specs": _Heavy(
        "EvaluatorSpec",
        {
            "tensorflow_model_analysis": {"sdk": SimpleNamespace(EvalConfig=object)},
            "tensorflow_model_analysis.proto": {"config_pb2": SimpleNamespace()},
        },
    ),
}


_WIDGETS = "tensorflow_model_analysis.view.widget_view"
_RENDERERS = ("plot", "slicing_attributions", "slicing_metrics", "time_series")
_ON_DEMAND: dict[str, dict[str, Any]] = {
    _COMPONENTS: {},
    _SPAN_PATTERNS: {"SPAN_PROPERTY_NAME": "span"},
    "keras.wrappers": {},
    "keras._tf_keras.keras.wrappers": {},
    "tqdm.notebook": {},
    "nltk": {},
    "nltk.stem": names_later("nltk.stem", "porter"),
    "IPython.display": names_later("IPython.display", "HTML", "display"),
    _WIDGETS: names_later(_WIDGETS, *(f"render_{what}" for what in _RENDERERS)),
    "tfx.components.statistics_gen.stats_artifact_utils": {},
}
"""Modules whose names appear when someone asks for one, and the names that are there at once.

What lies below such a package can be imported without it."""

_KERAS = "keras"
_KERAS_2 = "tensorflow_model_analysis.utils.keras_lib"
_READERS = "tfx.components.util.tfxio_utils"
_READER_FACTORIES = (
    "get_tf_dataset_factory_from_artifact",
    "get_record_batch_factory_from_artifact",
)
_DATA_VIEW_FACTORY = "get_data_view_decode_fn_from_artifact"


def install() -> None:
    """Serves the stand-ins from now on; modules that are loaded already stay as they are."""
    if not any(isinstance(finder, _StandInFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _StandInFinder())


_STAND_INS = {
    *(_GFILE, _DOC_CONTROLS, _KERAS, _KERAS_2, _READERS),
    *(*_HEAVY, *_ON_DEMAND, *WHOLE, *_OPERATORS),
}


class _StandInFinder(MetaPathFinder):
    """Finds those modules before the ordinary finder does."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> Any:
        if fullname not in _ON_DEMAND:
            load_packages_of(fullname)
        if fullname not in _STAND_INS:
            return None
        real = PathFinder.find_spec(fullname, path)
        if real is None or real.loader is None:
            return None
        spec = ModuleSpec(fullname, _StandInLoader(real), origin=real.origin)
        spec.submodule_search_locations = real.submodule_search_locations
        spec.has_location = real.has_location
        spec.cached = real.cached
        return spec


class _StandInLoader(Loader):
    def __init__(self, real: ModuleSpec) -> None:
        self.real = real

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ in _ON_DEMAND or module.__name__ in WHOLE:
            vars(module).update(_ON_DEMAND.get(module.__name__, {}))
            vars(module)["__getattr__"] = FirstUse(module, self.real)
        elif module.__name__ == _KERAS:
            _load_unless_for_tensorflow(module, self.real)
        elif module.__name__ == _KERAS_2:
            _fill_keras_2(module, self.real)
        elif module.__name__ == _READERS:
            _fill_readers(module, self.real)
        elif module.__name__ in _OPERATORS:
            _fill_operator(module, self.real, _OPERATORS[module.__name__])
        elif module.__name__ in _HEAVY:
            _fill_without(module, self.real, _HEAVY[module.__name__])
        elif module.__name__ == _DOC_CONTROLS:
            _fill_doc_controls(module)
        else:
            _fill_gfile(module, self.real)


def _load_unless_for_tensorflow(module: ModuleType, real: ModuleSpec) -> None:
    """Loads Keras, unless it is TensorFlow that imports it while it is imported itself.

    TensorFlow takes an ImportError for "not installed" and makes `tf.keras` on first use anyway.
    The reason it gives (optimizers that register for SavedModels) was Keras 2; Keras 3 registers
    nothing.

    Source: tensorflow 2.21, `tensorflow/__init__.py`, "Do an eager load for Keras' code".
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__") == "tensorflow":
            raise ImportError("Keras is left for its first use")
        frame = frame.f_back
    assert real.loader is not None
    real.loader.exec_module(module)


def _fill_keras_2(module: ModuleType, real: ModuleSpec) -> None:
    """Finds Keras 2 for TFMA without asking Keras 3 for its version, which loads it."""
    from importlib import metadata

    legacy = os.environ.get("TF_USE_LEGACY_KERAS", "").lower() in ("true", "1")
    if legacy or not metadata.version("keras").startswith("3."):
        assert real.loader is not None
        real.loader.exec_module(module)
        return
    module.tf_keras = importlib.import_module("tf_keras")  # type: ignore[attr-defined]
    for version in ("v1", "v2"):
        keras = importlib.import_module(f"tf_keras.api._{version}.keras")
        setattr(module, f"tf_keras_{version}", keras)


def _fill_readers(module: ModuleType, real: ModuleSpec) -> None:
    """Makes the readers that TFX hands to a trainer so that they load tfx_bsl when they are used.

    A `run_fn` that reads with tf.data, as ours, never does.
    """

    def later(name: str, *args: Any, **kwargs: Any) -> Any:
        def read(*given: Any, **options: Any) -> Any:
            return getattr(_real_module(real), name)(*args, **kwargs)(*given, **options)

        return read

    def data_view(examples: list[Any], *args: Any, **kwargs: Any) -> Any:
        from tfx.components.util import examples_utils
        from tfx.proto import example_gen_pb2

        formats = {examples_utils.get_payload_format(artifact) for artifact in examples}
        if example_gen_pb2.PayloadFormat.FORMAT_PROTO not in formats:
            return None
        return getattr(_real_module(real), _DATA_VIEW_FACTORY)(examples, *args, **kwargs)

    for name in _READER_FACTORIES:
        vars(module)[name] = functools.partial(later, name)
    vars(module)[_DATA_VIEW_FACTORY] = data_view
    vars(module)["__getattr__"] = lambda name: _attribute_of_copy(real, name)


def _fill_operator(module: ModuleType, real: ModuleSpec, name: str) -> None:
    """Defines the operator's class so that making one makes the real one."""

    def make(cls: type, *args: Any, **kwargs: Any) -> Any:
        return getattr(_real_module(real), name)(*args, **kwargs)

    vars(module)[name] = type(name, (), {"__new__": make})
    vars(module)["__getattr__"] = lambda other: _attribute_of_copy(real, other)


def _fill_without(module: ModuleType, real: ModuleSpec, heavy: _Heavy) -> None:
    """Loads the module with dummies for what it imports, and its class in question on demand."""
    if any(name in sys.modules for name in heavy.dummies):
        assert real.loader is not None
        real.loader.exec_module(module)
        return
    for name, members in heavy.dummies.items():
        dummy = ModuleType(name)
        vars(dummy).update(members)
        sys.modules[name] = dummy
    try:
        assert real.loader is not None
        real.loader.exec_module(module)
    finally:
        for name in heavy.dummies:
            del sys.modules[name]
    del vars(module)[heavy.needed_for]
    vars(module)["__getattr__"] = lambda name: _attribute_of_copy(real, name)


def _attribute_of_copy(real: ModuleSpec, name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(_real_module(real), name)


def _fill_doc_controls(module: ModuleType) -> None:
    """Decorators for a documentation generator that nobody runs here."""

    def unchanged(thing: Any, *_: Any) -> Any:
        return thing

    for name in ("do_not_doc_in_subclasses", "do_not_doc_inheritable", "do_not_generate_docs"):
        setattr(module, name, unchanged)
    module.documented = unchanged  # type: ignore[attr-defined]
    module.EXTRA_DOCS = {}  # type: ignore[attr-defined]


def _fill_gfile(module: ModuleType, real: ModuleSpec) -> None:
    """Registers TensorFlow's filesystem for remote paths only, imported at the first of them."""
    from tfx.dsl.io import filesystem, filesystem_registry

    def on_first_use(name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            return getattr(_real_gfile(real), name)(*args, **kwargs)

        return staticmethod(call)

    operations = [
        name
        for name, member in vars(filesystem.Filesystem).items()
        if isinstance(member, staticmethod)
    ]
    members = {name: on_first_use(name) for name in operations}
    stand_in = type(
        "TensorflowFilesystem",
        (filesystem.Filesystem,),
        {"SUPPORTED_SCHEMES": ["gs://", "hdfs://"], **members},
    )
    filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(
        stand_in, priority=10, use_as_fallback=True
    )
    _register_local()
    module.TensorflowFilesystem = stand_in  # type: ignore[attr-defined]


def _register_local() -> None:
    """Prefers Python's own file calls for local paths, with the field that TFX reads.

    TFX's fingerprint of input files asks for `stat(path).length`, which TensorFlow's answer has
    and that of TFX's own local plugin lacks.
    """
    from tfx.dsl.io import filesystem_registry
    from tfx.dsl.io.plugins import local

    class LocalFilesystem(local.LocalFilesystem):
        @staticmethod
        def stat(path: Any) -> Any:
            found = local.LocalFilesystem.stat(path)
            return SimpleNamespace(length=found.st_size, mtime_nsec=found.st_mtime_ns)

    filesystem_registry.DEFAULT_FILESYSTEM_REGISTRY.register(LocalFilesystem, priority=5)


def _real_gfile(real: ModuleSpec) -> Any:
    """TensorFlow's own filesystem class, loaded beside the stand-in."""
    return _real_module(real).TensorflowFilesystem


def _real_module(real: ModuleSpec) -> ModuleType:
    """Loads an upstream module under a second name, beside its stand-in."""
    name = f"{real.name}_real"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, real.origin)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]
