"""A pusher whose versions are whole or not there, numbered once, and entered in a ledger.

It takes the place of TFX's Pusher, which numbers versions by the clock, skips one silently when
two fall into a second, and copies straight into the folder that a model server watches. Inputs,
output and the properties of the pushed model are the same, so what reads them goes on working.

Neither this module nor a push imports TensorFlow.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, channel, component_spec, standard_artifacts
from tfx.utils import io_utils, path_utils

from components.signatures import read_fingerprint, read_signatures
from components.warmup import MAX_REQUESTS, WARMUP_FILE, read_rows, rows_needed, warmup_requests
from serving.contents import require_complete
from serving.errors import UserError
from serving.ledger import Label
from serving.store_contract import Tree
from serving.stores import open_store, open_tree
from serving.versions import Origin, Pushed, Terms, push

if TYPE_CHECKING:
    from tfx.orchestration import data_types
    from tfx.types import Artifact

__all__ = ["Executor", "Pusher"]

# Custom properties of the pushed model; the first three are TFX's.
PUSHED = "pushed"
DESTINATION = "pushed_destination"
VERSION = "pushed_version"
REASON = "reason"
REFUSED_BY = "refused_by"  # "evaluation" or "infra validation"
EXPLANATION = "explanation"
LABELS = "labels"
GENERATION = "ledger_generation"
DIGEST = "digest"
WARMUP = "warmup_requests"
MODEL_ID = "current_model_id"
"""Named as on the blessings; the baseline is found by it."""

_SUMMARY_FILE = "summary.json"
_TF_EXAMPLE_FORMAT = "FORMAT_TF_EXAMPLE"


class Executor(base_executor.BaseExecutor):
    """Pushes a blessed model."""

    def Do(  # noqa: N802  (TFX's name)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Publishes the model as the next version, or says in the output why not.

        Args:
            input_dict: `model`, and optionally `model_blessing`, `infra_blessing`, `examples`
                (for the warmup and the span) and `evaluation` (for the metrics).
            output_dict: `pushed_model`.
            exec_properties: see `PusherSpec`.

        Raises:
            UserError: the model is incomplete, or the destination can't be written.
        """
        pushed_model = artifact_utils.get_single_instance(output_dict["pushed_model"])
        evaluation = _read_summary(input_dict.get("evaluation", []))
        gate, reason = _refusal(input_dict, evaluation)
        if reason:
            pushed_model.set_int_custom_property(PUSHED, 0)
            pushed_model.set_string_custom_property(REASON, reason)
            pushed_model.set_string_custom_property(REFUSED_BY, gate)
            logging.getLogger(__name__).warning("not pushed: %s", reason)
            return
        model = artifact_utils.get_single_instance(input_dict["model"])
        folder = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
        source = open_tree(folder)
        require_complete(source.url, source.sizes())
        name = exec_properties["model_name"] or self._pipeline()
        examples = input_dict.get("examples", [])
        extra, requests = _warmup(source, examples, exec_properties, name)
        origin = Origin(
            model=name,
            pipeline=self._pipeline(),
            run_id=self._run_id(),
            node=self._node(),
            model_uri=model.uri,
            span=max((one.span for one in examples if one.span), default=None),
            metrics=_overall_metrics(evaluation),
            fingerprint=read_fingerprint(source),
            warmup_requests=requests,
        )
        pushed = push(
            open_store(exec_properties["push_destination"]),
            source,
            origin,
            Terms(
                push_as=cast("Label", exec_properties["label"]),
                keep=exec_properties["keep"],
                who=f"run {self._run_id()}" if self._run_id() else "",
                why="blessed" if "model_blessing" in input_dict else "pushed without a blessing",
            ),
            extra,
        )
        if exec_properties["archive"]:
            io_utils.copy_dir(folder, pushed_model.uri)
        _describe(pushed_model, pushed)
        pushed_model.set_int_custom_property(MODEL_ID, model.id)
        logging.getLogger(__name__).info("pushed to %s. %s", pushed.url, pushed.explanation)

    def _pipeline(self) -> str:
        info = self._context.pipeline_info if self._context else None
        return info.id if info else ""

    def _node(self) -> str:
        node = self._context.pipeline_node if self._context else None
        return node.node_info.id if node else ""

    def _run_id(self) -> str:
        return (self._context.pipeline_run_id if self._context else None) or ""


class PusherSpec(component_spec.ComponentSpec):
    """The pusher's inputs, outputs and parameters."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "push_destination": component_spec.ExecutionParameter(type=str),
        "model_name": component_spec.ExecutionParameter(type=str),
        "label": component_spec.ExecutionParameter(type=str),
        "keep": component_spec.ExecutionParameter(type=int),
        "warmup_requests": component_spec.ExecutionParameter(type=int),
        "warmup_split": component_spec.ExecutionParameter(type=str),
        # A JSON list, since TFX's parameters are single values.
        "unsent_columns": component_spec.ExecutionParameter(type=str),
        "archive": component_spec.ExecutionParameter(type=int),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        # Once wired, a blessing must be there: an empty channel is no permission.
        "model_blessing": component_spec.ChannelParameter(
            type=standard_artifacts.ModelBlessing, optional=True, allow_empty=False
        ),
        "infra_blessing": component_spec.ChannelParameter(
            type=standard_artifacts.InfraBlessing, optional=True, allow_empty=False
        ),
        "examples": component_spec.ChannelParameter(
            type=standard_artifacts.Examples, optional=True
        ),
        "evaluation": component_spec.ChannelParameter(
            type=standard_artifacts.ModelEvaluation, optional=True
        ),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "pushed_model": component_spec.ChannelParameter(type=standard_artifacts.PushedModel),
    }


class Pusher(base_component.BaseComponent):
    """Publishes a blessed model for serving.

    Args:
        model: the trainer's model.
        push_destination: the folder or URL of this model's versions.
        model_blessing: must be blessed, if wired.
        infra_blessing: must be blessed, if wired.
        examples: raw examples, for warmup requests and the data's span.
        evaluation: its `summary.json` gives the ledger the metrics.
        model_name: as servers know the model; the pipeline's name if empty.
        label: the label that a new version gets, `stable` or `canary`.
        keep: newest versions kept, besides those that a label names. Unit: versions.
        warmup_requests: for all signatures together; 0 for none. Unit: requests.
        warmup_split: the split of the examples that they are made from.
        unsent_columns: columns that callers don't send, as the label.
        archive: whether the output artifact gets a copy of the model, as TFX's has.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: channel.BaseChannel,
        push_destination: str | data_types.RuntimeParameter,
        model_blessing: channel.BaseChannel | None = None,
        infra_blessing: channel.BaseChannel | None = None,
        examples: channel.BaseChannel | None = None,
        evaluation: channel.BaseChannel | None = None,
        *,
        model_name: str = "",
        label: Label = "stable",
        keep: int = 5,
        warmup_requests: int = 64,
        warmup_split: str = "eval",
        unsent_columns: Sequence[str] = (),
        archive: bool = True,
    ) -> None:
        if label not in ("stable", "canary"):
            raise ValueError(f"label is {label!r}, expected 'stable' or 'canary'")
        if keep < 1:
            raise ValueError(f"keep is {keep}, expected at least 1 version")
        if not 0 <= warmup_requests <= MAX_REQUESTS:
            raise ValueError(f"warmup_requests is {warmup_requests}, expected 0 to {MAX_REQUESTS}")
        spec = PusherSpec(
            model=model,
            model_blessing=model_blessing,
            infra_blessing=infra_blessing,
            examples=examples,
            evaluation=evaluation,
            push_destination=push_destination,
            model_name=model_name,
            label=label,
            keep=keep,
            warmup_requests=warmup_requests,
            warmup_split=warmup_split,
            unsent_columns=json.dumps(list(unsent_columns)),
            archive=int(archive),
            pushed_model=channel.Channel(type=standard_artifacts.PushedModel),
        )
        super().__init__(spec=spec)


def _refusal(inputs: dict[str, list[Artifact]], evaluation: dict[str, Any]) -> tuple[str, str]:
    """Which gate says that the model must not be pushed, and why; both empty if it may."""
    model = artifact_utils.get_single_instance(inputs["model"])
    for key, gate in (("model_blessing", "evaluation"), ("infra_blessing", "infra validation")):
        if key not in inputs:
            continue
        if not inputs[key]:
            return gate, f"the {gate} left no blessing"
        blessing = artifact_utils.get_single_instance(inputs[key])
        if blessing.get_int_custom_property("blessed") != 1:
            reasons = [blessing.get_string_custom_property(REASON)]
            if key == "model_blessing":
                reasons += evaluation.get("reasons", [])
            said = "; ".join(reason for reason in reasons if reason)
            return gate, f"not blessed by the {gate}" + (f": {said}" if said else "")
        blessed_id = blessing.get_int_custom_property(MODEL_ID)
        if blessed_id and model.id and blessed_id != model.id:
            return gate, f"the {gate} blessed another model (artifact {blessed_id}, not {model.id})"
    if not {"model_blessing", "infra_blessing"} & inputs.keys():
        logging.getLogger(__name__).warning("pushing a model that no evaluation has blessed")
    return "", ""


def _read_summary(evaluations: list[Artifact]) -> dict[str, Any]:
    """The evaluation's metrics and reasons; empty without them."""
    for evaluation in evaluations:
        try:
            data = b"".join(open_tree(evaluation.uri).chunks(_SUMMARY_FILE))
        except FileNotFoundError:
            # TFX's own Evaluator writes none.
            continue
        return cast("dict[str, Any]", json.loads(data))
    return {}


def _overall_metrics(evaluation: dict[str, Any]) -> dict[str, float]:
    """The metrics over all rows."""
    for part in evaluation.get("slices", []):
        if not part["slice"]:
            return {name: float(value) for name, value in part["metrics"].items()}
    return {}


def _warmup(
    source: Tree, examples: list[Artifact], properties: dict[str, Any], name: str
) -> tuple[dict[str, bytes], int]:
    """The warmup file for a model, unless it brings its own, and its number of requests."""
    wanted = properties["warmup_requests"]
    if not wanted or not examples or WARMUP_FILE in source.sizes():
        return {}, 0
    newest = max(examples, key=lambda artifact: (artifact.span or 0, artifact.id or 0))
    payload = newest.get_string_custom_property("payload_format")
    if payload not in ("", _TF_EXAMPLE_FORMAT):
        logging.getLogger(__name__).warning("no warmup requests: the examples are %s", payload)
        return {}, 0
    splits = artifact_utils.decode_split_names(newest.split_names)
    split = properties["warmup_split"]
    if split not in splits:
        raise UserError(
            f"the examples have no split {split!r} to make warmup requests from",
            expected=f"one of {', '.join(splits)}",
            fix="name another split, or set push.warmup_requests to 0",
        )
    urls = artifact_utils.get_split_uris([newest], split)
    rows = read_rows(urls, rows_needed(wanted), frozenset(json.loads(properties["unsent_columns"])))
    data, count = warmup_requests(read_signatures(source), rows, wanted, name)
    return ({WARMUP_FILE: data} if count else {}), count


def _describe(artifact: Artifact, pushed: Pushed) -> None:
    artifact.set_int_custom_property(PUSHED, 1)
    artifact.set_string_custom_property(DESTINATION, pushed.url)
    artifact.set_string_custom_property(VERSION, str(pushed.version))
    artifact.set_string_custom_property(EXPLANATION, pushed.explanation)
    artifact.set_string_custom_property(LABELS, ",".join(pushed.ledger.names_of(pushed.version)))
    artifact.set_int_custom_property(GENERATION, pushed.ledger.generation)
    artifact.set_string_custom_property(DIGEST, pushed.entry.digest)
    artifact.set_int_custom_property(WARMUP, pushed.entry.warmup_requests)
