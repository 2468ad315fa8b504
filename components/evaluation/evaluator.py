"""TFX's Evaluator that is quick and says why: one pass over the rows, metrics with their reasons.

On the in-process engine the rows are scored in batches and measured with arrays (`scored_rows`,
`row_metrics`); the files are TFMA's. What that does not cover, and what runs on Flink, Dataflow or
Spark, TFMA evaluates itself.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils import config_util

# TFMA 0.52 does not export its configuration messages, and TFX's Evaluator looks for them there;
# the `tfx.components` package puts them in place, but it imports every other component too.
for _name in (*config_pb2.DESCRIPTOR.message_types_by_name, "MetricDirection"):
    if not hasattr(tfma, _name):
        setattr(tfma, _name, getattr(config_pb2, _name))

from tfx.components.evaluator import component, constants  # noqa: E402
from tfx.components.evaluator import executor as tfx_executor  # noqa: E402
from tfx.dsl.components.base import executor_spec  # noqa: E402
from tfx.dsl.io import fileio  # noqa: E402
from tfx.types import artifact_utils  # noqa: E402
from tfx.utils import io_utils, json_utils, path_utils, proto_utils  # noqa: E402

from components.evaluation import evaluation_files, evaluation_summary  # noqa: E402
from components.evaluation.evaluation_files import EvaluationPlan  # noqa: E402
from components.evaluation.scored_rows import NotTabularError, ServedModel, score  # noqa: E402

__all__ = ["Evaluator", "Executor"]

_DEFAULT_SPLITS = ["eval"]
_log = logging.getLogger(__name__)


class Executor(tfx_executor.Executor):
    """Evaluates, writes TFMA's files and the summary, and settles the blessing."""

    def Do(  # noqa: N802  (TFX's name)
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluates the models over the examples.

        Raises:
            Exception: whatever TFMA raises, for example a model without the named signature.
        """
        evaluation = artifact_utils.get_single_uri(output_dict["evaluation"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        try:
            self._evaluate(input_dict, evaluation, blessing, exec_properties)
        except NotTabularError as reason:
            _log.info("evaluated by TFMA's own pipeline: %s", reason)
            super().Do(input_dict, output_dict, exec_properties)
        has_baseline = bool(input_dict.get("baseline_model"))
        slices = evaluation_summary.slices(evaluation, has_baseline=has_baseline)
        gated = blessing.has_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY)
        if gated:
            blessed = blessing.get_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY)
            reasons = evaluation_summary.reasons(evaluation, slices)
        else:
            # Nothing was asked of the model, so nothing is missing. TFX leaves the blessing empty
            # then, which the pusher would read as a refusal.
            _bless(blessing, input_dict, is_blessed=True)
            blessed, reasons = 1, []
        candidate = evaluation_summary.CANDIDATE if has_baseline else None
        config = tfma.EvalConfig()
        proto_utils.json_to_proto(exec_properties["eval_config"], config)
        summary = {
            "blessed": bool(blessed),
            "gated": gated,
            "compared": has_baseline,
            "reasons": reasons,
            "notes": evaluation_summary.undefined(slices, config),
            "slices": slices,
            **evaluation_summary.overall_plots(
                evaluation, candidate, _class_names(input_dict["model"][0].uri, config)
            ),
        }
        text = json.dumps(summary, indent=1)
        io_utils.write_string_file(f"{evaluation}/{evaluation_summary.SUMMARY_FILE}", text)

    def _evaluate(
        self,
        input_dict: dict[str, list[Any]],
        evaluation: str,
        blessing: Any,
        exec_properties: dict[str, Any],
    ) -> None:
        """Evaluates in this process.

        Raises:
            NotTabularError: that is not possible here; nothing has been written.
        """
        engines = [str(each) for each in self._beam_pipeline_args if "--runner=" in str(each)]
        if engines[-1:] not in ([], ["--runner=DirectRunner"]):
            raise NotTabularError("the engine is not this process")
        if any(exec_properties.get(name) for name in ("module_file", "module_path")):
            raise NotTabularError("the evaluation has code of its own")
        has_baseline = bool(input_dict.get("baseline_model"))
        config = tfma.EvalConfig()
        proto_utils.json_to_proto(exec_properties["eval_config"], config)
        # As TFX: a change is not held against a baseline that is not there.
        config = config_util.update_eval_config_with_defaults(
            config, has_baseline=has_baseline, rubber_stamp=True
        )
        config_util.verify_eval_config(config)
        plan = EvaluationPlan.of(config)
        uris = {
            spec.name: path_utils.serving_model_path(
                input_dict["baseline_model" if spec.is_baseline else "model"][0].uri
            )
            for spec in config.model_specs
        }
        models = {spec.name: _served(spec, uris[spec.name]) for spec in config.model_specs}
        schema_uri = artifact_utils.get_single_uri(input_dict["schema"])
        schema = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema_uri))
        splits = json_utils.loads(exec_properties.get("example_splits") or "null")
        files = _files(input_dict["examples"], splits or _DEFAULT_SPLITS)
        scored = score(files, models, schema, plan.columns)
        holds = evaluation_files.write(plan, scored, evaluation, uris)
        if plan.has_thresholds:
            _bless(blessing, input_dict, is_blessed=holds)


class Evaluator(component.Evaluator):
    """Evaluates the candidate per slice and blesses it if it holds every threshold."""

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)


def _class_names(model: str, config: tfma.EvalConfig) -> list[str]:
    """Reads what the classes are called off the vocabulary of labels in the model, if it has one.

    `trainer.preprocessing` names it like the label that it makes.
    """
    labels = {spec.label_key for spec in config.model_specs}
    for label in sorted(labels - {""}):
        file = f"{path_utils.serving_model_path(model)}/assets/{label}"
        if fileio.exists(file):
            with fileio.open(file, "rb") as vocabulary:
                return [str(line, "utf-8", "replace") for line in vocabulary.read().splitlines()]
    return []


def _served(spec: Any, uri: str) -> ServedModel:
    names = list(spec.preprocessing_function_names)
    if len(names) > 1 or spec.model_type not in ("", "tf_generic", "tf_keras"):
        raise NotTabularError("several functions before the model, or a model of another kind")
    label_signature = names[0] if names else ""
    return ServedModel(
        uri, spec.signature_name, spec.prediction_key, label_signature, spec.label_key
    )


def _files(examples: list[Any], splits: list[str]) -> list[str]:
    """The files of the splits, in order."""
    folders = [uri for split in splits for uri in artifact_utils.get_split_uris(examples, split)]
    return [file for folder in folders for file in sorted(fileio.glob(f"{folder}/*"))]


def _bless(blessing: Any, input_dict: dict[str, list[Any]], *, is_blessed: bool) -> None:
    """Writes the blessing as TFX's Evaluator does.

    Source: tfx/components/evaluator/executor.py.
    """
    for key, uri_name, id_name in (
        (
            "model",
            constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY,
            constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY,
        ),
        (
            "baseline_model",
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY,
            constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY,
        ),
    ):
        for model in (input_dict.get(key) or [])[:1]:
            blessing.set_string_custom_property(uri_name, model.uri)
            blessing.set_int_custom_property(id_name, model.id)
    name = constants.BLESSED_FILE_NAME if is_blessed else constants.NOT_BLESSED_FILE_NAME
    value = constants.BLESSED_VALUE if is_blessed else constants.NOT_BLESSED_VALUE
    io_utils.write_string_file(f"{blessing.uri}/{name}", "")
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
