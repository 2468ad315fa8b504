"""Tiny SavedModels of every kind, built once, and servers for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from serving.server.options import ServerOptions


@dataclass(frozen=True)
class Models:
    """Folders with one version each; `copy` makes a model folder with the versions one wants."""

    root: Path

    def copy(self, base: Path, versions: dict[int, str]) -> Path:
        for number, name in versions.items():
            incoming = base / f".incoming-{number}"
            shutil.copytree(self.root / name, incoming)
            incoming.rename(base / str(number))
        return base


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    root = tmp_path_factory.mktemp("saved_models")
    for name, build in BUILDERS.items():
        build(root / name)
    return Models(root)


@pytest.fixture(scope="session")
def everything(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One server with every model, for tests that change nothing."""
    from serving.server.embedded import running

    root = tmp_path_factory.mktemp("everything")
    config = []
    for name in BUILDERS:
        base = root / name
        models.copy(base, {1: name})
        config.append(
            f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" }}'
        )
    models.copy(root / "half_plus_two", {2: "half_plus_three"})
    text = "\n".join(config).replace(
        f'{root / "half_plus_two"}"',
        f'{root / "half_plus_two"}" model_version_policy {{ all {{}} }}'
        " version_labels { key: 'stable' value: 1 }",
    )
    (root / "models.config").write_text(f"model_config_list {{ {text} }}")
    (root / "monitoring.config").write_text("prometheus_config { enable: true }")
    options = ServerOptions(
        model_config_file=str(root / "models.config"),
        monitoring_config_file=str(root / "monitoring.config"),
        allow_version_labels_for_unavailable_models=True,
        max_request_bytes=4 << 20,
        drain_timeout_seconds=2,
    )
    with running(options) as server:
        yield server


def _save(folder: Path, build: Callable[[Any], dict[str, Any]]) -> None:
    import tensorflow as tf

    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        signatures = build(tf)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map=signatures,
            main_op=v1.tables_initializer(),
            strip_default_attrs=True,
        )
        builder.save()


def _signature(inputs: dict[str, Any], outputs: dict[str, Any], method: str = "predict") -> Any:
    import tensorflow as tf

    v1 = tf.compat.v1.saved_model
    return v1.build_signature_def(
        {name: v1.build_tensor_info(tensor) for name, tensor in inputs.items()},
        {name: v1.build_tensor_info(tensor) for name, tensor in outputs.items()},
        f"tensorflow/serving/{method}",
    )


def _half_plus(amount: float) -> Callable[[Path], None]:
    def build(tf: Any) -> dict[str, Any]:
        v1 = tf.compat.v1
        half = v1.get_variable("half", initializer=0.5)
        plus = v1.get_variable("plus", initializer=amount)
        serialized = v1.placeholder(tf.string, [None], "tf_example")
        parsed = v1.parse_example(serialized, {"x": v1.FixedLenFeature([1], tf.float32)})
        x = v1.placeholder(tf.float32, name="x")
        y = tf.add(half * x, plus, name="y")
        example_y = half * parsed["x"] + plus
        return {
            "serving_default": _signature({"x": x}, {"y": y}),
            "regress": _signature({"inputs": serialized}, {"outputs": example_y}, "regress"),
            "classify": _signature(
                {"inputs": serialized},
                {
                    "scores": tf.concat([example_y, -example_y], 1),
                    "classes": tf.tile(tf.constant([["yes", "no"]]), [tf.shape(serialized)[0], 1]),
                },
                "classify",
            ),
            "classify_scores": _signature(
                {"inputs": serialized}, {"scores": example_y}, "classify"
            ),
            "wrong_method": _signature({"x": x}, {"y": y}, "nonsense"),
        }

    return lambda folder: _save(folder, build)


def _types(folder: Path) -> None:
    def build(tf: Any) -> dict[str, Any]:
        v1 = tf.compat.v1
        kinds = {
            "float": tf.float32,
            "double": tf.float64,
            "int32": tf.int32,
            "int64": tf.int64,
            "uint8": tf.uint8,
            "int8": tf.int8,
            "uint32": tf.uint32,
            "uint64": tf.uint64,
            "string": tf.string,
            "bool": tf.bool,
            "half": tf.float16,
        }
        signatures = {}
        for name, dtype in kinds.items():
            x = v1.placeholder(dtype, name=f"in_{name}")
            y = tf.identity(x, name=f"out_{name}")
            signatures[name] = _signature({"x": x}, {"y": y})
        x = v1.placeholder(tf.string, name="in_bytes")
        signatures["bytes"] = _signature(
            {"x": x}, {"image_bytes": tf.identity(x), "text": tf.identity(x)}
        )
        x = v1.placeholder(tf.float32, [None, 2], name="in_pair")
        z = v1.placeholder(tf.int64, [None], name="in_z")
        total = tf.reduce_sum(x, 1) + tf.cast(z, tf.float32)
        signatures["serving_default"] = _signature(
            {"x": x, "z": z}, {"total": total, "x": tf.identity(x), "twice": 2 * z}
        )
        scalar = tf.constant(7.0)
        signatures["scalar"] = _signature({"x": x}, {"y": scalar + tf.reduce_sum(x)})
        signatures["uneven"] = _signature(
            {"x": x}, {"a": total[:1] * 0 + 1, "b": tf.concat([z, z], 0)}
        )
        return signatures

    _save(folder, build)


def _tabular(folder: Path) -> None:
    """As the trainer exports: serialised examples, and one input per raw column."""

    def build(tf: Any) -> dict[str, Any]:
        v1 = tf.compat.v1
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(["cash", "card"], [1, 2], tf.string, tf.int64), -1
        )

        def model(fare: Any, kind: Any, trips: Any, day: Any) -> Any:
            return tf.sigmoid(
                fare / 10
                + tf.cast(table.lookup(kind), tf.float32)
                + tf.cast(trips, tf.float32)
                + tf.cast(day, tf.float32) / 8
            )

        serialized = v1.placeholder(tf.string, [None], "examples")
        parsed = v1.parse_example(
            serialized,
            {
                "fare": v1.FixedLenFeature([], tf.float32, -1.0),
                "art der Zahlung (é)": v1.FixedLenFeature([], tf.string, ""),
                "trips": v1.FixedLenFeature([], tf.int64, 0),
                "day": v1.FixedLenFeature([], tf.int64, 0),
            },
        )
        columns = {
            "fare": v1.placeholder(tf.float32, [None], "fare"),
            "art der Zahlung (é)": v1.placeholder(tf.string, [None], "kind"),
            "trips": v1.placeholder(tf.int64, [None], "trips"),
            # A whole number that may be missing: a double, NaN where it is.
            "day": v1.placeholder(tf.float64, [None], "day"),
        }
        filled = {
            **columns,
            "fare": tf.where(tf.math.is_nan(columns["fare"]), -1.0, columns["fare"]),
            "day": tf.where(
                tf.math.is_nan(columns["day"]), tf.zeros_like(columns["day"]), columns["day"]
            ),
        }
        return {
            "serving_default": _signature(
                {"examples": serialized}, {"probability": model(*parsed_values(parsed))}
            ),
            "columns": _signature(columns, {"probability": model(*parsed_values(filled))}),
        }

    def parsed_values(values: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
        return values["fare"], values["art der Zahlung (é)"], values["trips"], values["day"]

    _save(folder, build)


def _slow(folder: Path) -> None:
    """Takes as many steps as its input says; a step is some hundred microseconds."""

    def build(tf: Any) -> dict[str, Any]:
        v1 = tf.compat.v1
        steps = v1.placeholder(tf.int64, [None], "steps")
        most = tf.reduce_max(steps)

        def step(i: Any, m: Any) -> tuple[Any, Any]:
            return i + 1, tf.linalg.matmul(m, m) / 128.0

        _, m = v1.while_loop(
            lambda i, m: i < most,
            step,
            (tf.constant(0, tf.int64), tf.ones([128, 128])),
            parallel_iterations=1,
        )
        return {
            "serving_default": _signature(
                {"steps": steps}, {"m": m[0, 0] + 0 * tf.cast(steps, tf.float32)}
            )
        }

    _save(folder, build)


BUILDERS: dict[str, Callable[[Path], None]] = {
    "half_plus_two": _half_plus(2.0),
    "half_plus_three": _half_plus(3.0),
    "types": _types,
    "tabular": _tabular,
    "slow": _slow,
}
