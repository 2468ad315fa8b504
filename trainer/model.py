"""The network: a wide, linear part over ids beside a deep part over embeddings and numbers.

Source: Cheng et al., "Wide & Deep Learning for Recommender Systems", 2016, arXiv:1606.07792.
"""

import random
from collections.abc import Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from trainer.problem import Problem, TransformedFeature

__all__ = ["IdTable", "build_model", "build_optimizer"]


@keras.saving.register_keras_serializable("kubetfx")
class IdTable(keras.layers.Layer):
    """One vector per id of every categorical feature, all in one table.

    The features' ids follow each other in the table, so that one lookup serves all of them;
    a feature that holds several values gets their mean, padding left out.

    Shape:
        ids int32 [N, S] to [N, C, dims], with C features and S the sum of their widths.

    Args:
        id_counts: ids of each feature.
        widths: values per row of each feature.
        dims: length of the vectors.
        l2: weight decay of the table.
        zeros: start at zero instead of at random.
        seed: of the random start.
    """

    def __init__(
        self,
        id_counts: Sequence[int],
        widths: Sequence[int],
        dims: int,
        *,
        l2: float = 0.0,
        zeros: bool = False,
        seed: int | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.id_counts, self.widths, self.dims = list(id_counts), list(widths), dims
        self.l2, self.zeros, self.seed = l2, zeros, seed
        starts = np.cumsum([0, *self.id_counts[:-1]])
        self._offsets = np.repeat(starts, self.widths).astype(np.int32)
        # Row s, column c: whether slot s of the ids belongs to feature c.
        self._slots = np.repeat(np.eye(len(self.widths), dtype=np.float32), self.widths, axis=0)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Makes the table."""
        start = keras.initializers.RandomUniform(-0.05, 0.05, self.seed)
        self.table = self.add_weight(
            shape=(sum(self.id_counts), self.dims),
            initializer="zeros" if self.zeros else start,
            regularizer=keras.regularizers.L2(self.l2) if self.l2 else None,
            name="table",
        )

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """Looks the vectors up."""
        if max(self.widths) == 1:
            return keras.ops.take(self.table, ids + self._offsets, axis=0)
        present = keras.ops.cast(ids >= 0, "float32")
        vectors = keras.ops.take(self.table, keras.ops.maximum(ids, 0) + self._offsets, axis=0)
        vectors *= keras.ops.expand_dims(present, -1)
        sums = keras.ops.einsum("nsd,sc->ncd", vectors, self._slots)
        counts = keras.ops.maximum(keras.ops.matmul(present, self._slots), 1.0)
        return sums / keras.ops.expand_dims(counts, -1)

    def get_config(self) -> dict[str, object]:
        """Returns the constructor's arguments."""
        return {
            "id_counts": self.id_counts,
            "widths": self.widths,
            "dims": self.dims,
            "l2": self.l2,
            "zeros": self.zeros,
            "seed": self.seed,
            "name": self.name,
        }


def build_model(problem: Problem, id_counts: Mapping[str, int], units: int = 1) -> keras.Model:
    """Turns the table of transformed features into an untrained network.

    Shape:
        {dense: float32 [N, D], ids: int32 [N, S]} (a group without features is left out) to
        scores float32 [N, units]; `heads` tells what scores mean.

    Args:
        problem: the features and the network's settings.
        id_counts: ids of each categorical transformed feature, by key.
        units: scores per row: the number of classes, else 1.
    """
    settings = problem.model
    seeds = _seeds(problem.training.seed)
    dense = [row for row in problem.transformed_features if row.form == "dense"]
    ids = [row for row in problem.transformed_features if row.form == "ids"]
    inputs = {}
    if dense:
        inputs["dense"] = keras.Input((len(dense),), dtype="float32", name="dense")
    if ids:
        inputs["ids"] = keras.Input((sum(row.width for row in ids),), dtype="int32", name="ids")

    parts = []
    if settings.kind != "dnn":
        parts += _wide_part(problem, inputs, ids, id_counts, units, seeds)
    if settings.kind != "linear":
        parts.append(_deep_part(problem, inputs, ids, id_counts, units, seeds))
    scores = keras.layers.Add(name="scores")(parts) if len(parts) > 1 else parts[0]
    return keras.Model(inputs, scores, name=settings.kind)


def build_optimizer(problem: Problem) -> keras.optimizers.Optimizer:
    """Turns the model settings into the rule that moves the weights."""
    settings = problem.model
    makers = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "sgd": keras.optimizers.SGD,
        "adagrad": keras.optimizers.Adagrad,
        "ftrl": keras.optimizers.Ftrl,
    }
    return makers[settings.optimizer](settings.learning_rate)


def _wide_part(
    problem: Problem,
    inputs: Mapping[str, keras.KerasTensor],
    ids: Sequence[TransformedFeature],
    id_counts: Mapping[str, int],
    units: int,
    seeds: Iterator[int],
) -> list[keras.KerasTensor]:
    """Sums one weight per id, which is a linear layer over their one-hot form.

    Every row has an id for every feature, be it that of the missing value, so the sum needs no
    bias. Where there is no deep part, or no id, numbers have a weight each too.

    Shape:
        each part [N, units].
    """
    parts = []
    if ids:
        weights = _id_table(problem, ids, id_counts, units, None, name="wide_ids")
        parts.append(keras.ops.sum(weights(inputs["ids"]), axis=1))
    if "dense" in inputs and (problem.model.kind == "linear" or not ids):
        parts.append(_layer(problem, units, seeds, name="wide_dense")(inputs["dense"]))
    return parts


def _deep_part(
    problem: Problem,
    inputs: Mapping[str, keras.KerasTensor],
    ids: Sequence[TransformedFeature],
    id_counts: Mapping[str, int],
    units: int,
    seeds: Iterator[int],
) -> keras.KerasTensor:
    """Runs embeddings and numbers through the hidden layers.

    Shape:
        [N, units].
    """
    parts = [inputs["dense"]] if "dense" in inputs else []
    if ids:
        dims = problem.model.embedding_dims
        table = _id_table(problem, ids, id_counts, dims, next(seeds), name="embeddings")
        parts.append(keras.layers.Flatten(name="embedded_ids")(table(inputs["ids"])))
    hidden = keras.layers.Concatenate(name="deep_inputs")(parts) if len(parts) > 1 else parts[0]
    for number, width in enumerate(problem.model.hidden_units, start=1):
        hidden = _layer(
            problem, width, seeds, name=f"hidden_{number}", activation=problem.model.activation
        )(hidden)
        if problem.model.dropout:
            hidden = keras.layers.Dropout(
                problem.model.dropout, seed=next(seeds), name=f"dropout_{number}"
            )(hidden)
    return _layer(problem, units, seeds, name="deep_scores")(hidden)


def _seeds(seed: int) -> Iterator[int]:
    """Yields a seed for each part that starts at random.

    Keras would draw them from Python's own generator, of which any other thread draws too.
    """
    generator = random.Random(seed)
    while True:
        yield generator.randint(1, 10**9)


def _id_table(
    problem: Problem,
    ids: Sequence[TransformedFeature],
    id_counts: Mapping[str, int],
    dims: int,
    seed: int | None,
    *,
    name: str,
) -> IdTable:
    """Makes a table that starts at random, or at zero if there is no seed."""
    counts, widths = [id_counts[row.key] for row in ids], [row.width for row in ids]
    l2 = problem.model.l2
    return IdTable(counts, widths, dims, l2=l2, zeros=seed is None, seed=seed, name=name)


def _layer(
    problem: Problem,
    units: int,
    seeds: Iterator[int],
    *,
    name: str,
    activation: str | None = None,
) -> keras.layers.Dense:
    l2 = problem.model.l2
    return keras.layers.Dense(
        units,
        activation=activation,
        kernel_initializer=keras.initializers.GlorotUniform(next(seeds)),
        kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
        name=name,
    )
