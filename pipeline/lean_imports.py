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

Others are left for their first use, which no pipeline makes: Keras loads scikit-learn for its
wrappers, BigQuery's client (which Beam loads) IPython for a progress bar.

Source: those files in the tfx 1.21.0 wheel. A test holds the stand-ins against the real
modules' names, so that a new TFX which adds to them is noticed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType, SimpleNamespace
from typing import Any

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

_ON_DEMAND: dict[str, dict[str, str]] = {
    _COMPONENTS: {},
    _SPAN_PATTERNS: {"SPAN_PROPERTY_NAME": "span"},
    "keras.wrappers": {},
    "keras._tf_keras.keras.wrappers": {},
    "tqdm.notebook": {},
}
"""Modules whose names appear when someone asks for one, and the names that are there at once."""


def install() -> None:
    """Serves the stand-ins from now on; modules that are loaded already stay as they are."""
    if not any(isinstance(finder, _StandInFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _StandInFinder())


_STAND_INS = {_GFILE, _DOC_CONTROLS, *_HEAVY, *_ON_DEMAND, *_OPERATORS}


class _StandInFinder(MetaPathFinder):
    """Finds those modules before the ordinary finder does."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> Any:
        if fullname not in _STAND_INS:
            return None
        real = PathFinder.find_spec(fullname, path)
        if real is None or real.loader is None:
            return None
        spec = ModuleSpec(fullname, _StandInLoader(real), origin=real.origin)
        spec.submodule_search_locations = real.submodule_search_locations
        return spec


class _StandInLoader(Loader):
    def __init__(self, real: ModuleSpec) -> None:
        self.real = real

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ in _ON_DEMAND:
            vars(module).update(_ON_DEMAND[module.__name__])
            vars(module)["__getattr__"] = lambda name: _attribute_of_real(module, self.real, name)
        elif module.__name__ in _OPERATORS:
            _fill_operator(module, self.real, _OPERATORS[module.__name__])
        elif module.__name__ in _HEAVY:
            _fill_without(module, self.real, _HEAVY[module.__name__])
        elif module.__name__ == _DOC_CONTROLS:
            _fill_doc_controls(module)
        else:
            _fill_gfile(module, self.real)


def _attribute_of_real(module: ModuleType, real: ModuleSpec, name: str) -> Any:
    """Runs the real module once and answers for it."""
    if name.startswith("__"):
        raise AttributeError(name)
    del vars(module)["__getattr__"]
    assert real.loader is not None
    real.loader.exec_module(module)
    return getattr(module, name)


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
