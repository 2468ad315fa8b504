"""What the network's scores mean: the loss they are trained by and the answers they become."""

from dataclasses import dataclass

import tensorflow as tf

from trainer.problem import Problem, Task

__all__ = ["Head"]


@dataclass(frozen=True)
class Head:
    """A task's end of the model.

    Attributes:
        task: binary, multiclass or regression.
        classes: names of the classes, for multiclass.
        offset: the number predicted at score 0, for regression. Unit: the label's own.
        scale: the change of that number per score, for regression. Unit: the label's own.
    """

    task: Task
    classes: tuple[str, ...] = ()
    offset: float = 0.0
    scale: float = 1.0

    @property
    def units(self) -> int:
        """Scores per row."""
        return len(self.classes) if self.task is Task.MULTICLASS else 1

    def losses(self, scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Returns each row's loss: cross entropy in nats, or the squared error over `scale`².

        Shape:
            scores [N, units], labels [N] to [N].
        """
        if self.task is Task.MULTICLASS:
            return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, scores)
        scores = tf.squeeze(scores, axis=1)
        if self.task is Task.BINARY:
            return tf.nn.sigmoid_cross_entropy_with_logits(labels, scores)
        return tf.square((labels - self.offset) / self.scale - scores)

    def predict(self, scores: tf.Tensor) -> tf.Tensor:
        """Turns scores into what is measured: probability, probabilities or a number.

        Shape:
            [N, units] to [N, units].
        """
        if self.task is Task.MULTICLASS:
            return tf.nn.softmax(scores)
        if self.task is Task.BINARY:
            return tf.sigmoid(scores)
        return scores * self.scale + self.offset

    def answer(self, problem: Problem, scores: tf.Tensor) -> dict[str, tf.Tensor]:
        """Turns scores into a signature's outputs, named by `Problem.output_names`.

        Shape:
            `probability` and `prediction` [N, 1]; `probabilities` and `classes` [N, C] (the
            names, in the same order in each row), `class` [N].
        """
        prediction = self.predict(scores)
        outputs = {problem.prediction_key: prediction}
        if self.task is Task.MULTICLASS:
            names = tf.constant(self.classes)
            outputs["class"] = tf.gather(names, tf.argmax(scores, axis=1))
            outputs["classes"] = tf.tile(names[tf.newaxis], tf.stack([tf.shape(scores)[0], 1]))
        return outputs
