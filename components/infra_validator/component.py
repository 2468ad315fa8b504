"""The gate between an evaluated model and the pusher: would a model server really serve it?

It takes the place of TFX's InfraValidator, which needs Docker or a Kubernetes pod and says no
more than "not blessed". Inputs, output and the properties of the blessing are the same; beside
the blessing lies `summary.json` with the reasons and all figures.
"""

from __future__ import annotations

import json
import logging
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, channel, component_spec, standard_artifacts
from tfx.utils import io_utils, path_utils

from components.infra_validator.demands import Demands, unmet
from components.record_file import read_records
from components.signatures import read_signatures
from components.warmup import read_rows, rows_needed, warmup_requests
from serving.stores import open_tree

if TYPE_CHECKING:
    from tfx.types import Artifact

    from components.model_calls import RecordedRequest

__all__ = ["SUMMARY_FILE", "Executor", "InfraValidator"]

SUMMARY_FILE = "summary.json"

# The files are TFX's.
_BLESSED_FILE = "INFRA_BLESSED"
_NOT_BLESSED_FILE = "INFRA_NOT_BLESSED"


class Executor(base_executor.BaseExecutor):
    """Tries a candidate in a server of its own."""

    def Do(  # noqa: N802  (TFX's name)
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes whether the model can be served, and why not.

        Args:
            input_dict: `model`, `examples` and optionally `model_blessing`: what the evaluation
                refused is not tried.
            output_dict: `blessing`.
            exec_properties: see `InfraValidatorSpec`.
        """
        started = time.monotonic()
        model = artifact_utils.get_single_instance(input_dict["model"])
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        summary: dict[str, Any] = {
            "blessed": False,
            "checked": False,
            "repeatable": True,
            "reasons": [],
            "notes": [],
            "demands": json.loads(exec_properties["demands"]),
        }
        evaluated = input_dict.get("model_blessing", [])
        if evaluated and evaluated[0].get_int_custom_property("blessed") != 1:
            summary["reasons"] = ["not tried: the evaluation did not bless the model"]
        else:
            _try(model, input_dict["examples"], exec_properties, bool(evaluated), summary)
        summary["seconds"] = round(time.monotonic() - started, 2)
        _bless(blessing, model, summary)


class InfraValidatorSpec(component_spec.ComponentSpec):
    """The validator's inputs, output and parameters."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        # JSON, since TFX's parameters are single values.
        "demands": component_spec.ExecutionParameter(type=str),
        "split": component_spec.ExecutionParameter(type=str),
        "unsent_columns": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model_blessing": component_spec.ChannelParameter(
            type=standard_artifacts.ModelBlessing, optional=True
        ),
    }
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.InfraBlessing),
    }


class InfraValidator(base_component.BaseComponent):
    """Blesses a model that a server loads and that answers as it should.

    Args:
        model: the trainer's model.
        examples: raw examples, of which the requests are made.
        model_blessing: if wired, only what it blesses is tried.
        demands: what is asked of the model.
        split: the split that the requests are made from.
        unsent_columns: columns that callers don't send, as the label.
    """

    SPEC_CLASS = InfraValidatorSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        model: channel.BaseChannel,
        examples: channel.BaseChannel,
        model_blessing: channel.BaseChannel | None = None,
        *,
        demands: Demands | None = None,
        split: str = "eval",
        unsent_columns: Sequence[str] = (),
    ) -> None:
        spec = InfraValidatorSpec(
            model=model,
            examples=examples,
            model_blessing=model_blessing,
            demands=(demands or Demands()).model_dump_json(),
            split=split,
            unsent_columns=json.dumps(list(unsent_columns)),
            blessing=channel.Channel(type=standard_artifacts.InfraBlessing),
        )
        super().__init__(spec=spec)


def _try(
    model: Artifact,
    examples: Sequence[Artifact],
    exec_properties: Mapping[str, Any],
    is_evaluated: bool,
    summary: dict[str, Any],
) -> None:
    """Fills in what was seen and what speaks against the model."""
    from components.infra_validator.trial import Figures, Objection, Terms, try_out

    demands = Demands.model_validate_json(exec_properties["demands"])
    figures = Figures()
    folder = path_utils.serving_model_path(model.uri, path_utils.is_old_model_artifact(model))
    try:
        requests, summary["notes"] = _requests(folder, examples, exec_properties, demands)
        terms = Terms(
            demands.tolerance, demands.start_timeout_s, demands.request_timeout_s, is_evaluated
        )
        with _local(folder) as local:
            try_out(local, requests, terms, figures)
        summary["reasons"] = unmet(demands, figures.as_dict())
        summary["repeatable"] = not summary["reasons"]
    except Objection as objection:
        summary["reasons"] = [objection.sentence]
        summary["repeatable"] = not objection.is_measured
    summary["checked"] = True
    summary["blessed"] = not summary["reasons"]
    summary.update(figures.as_dict())


def _requests(
    folder: str,
    examples: Sequence[Artifact],
    exec_properties: Mapping[str, Any],
    demands: Demands,
) -> tuple[list[RecordedRequest], list[str]]:
    """Makes requests of real rows, and notes about the signatures that get none.

    Raises:
        Objection: the model lacks a signature or an input, as its file says.
    """
    from components.infra_validator.trial import MODEL_NAME, Objection
    from components.model_calls import RecordedRequest

    newest = max(examples, key=lambda artifact: (artifact.span or 0, artifact.id or 0))
    urls = artifact_utils.get_split_uris([newest], exec_properties["split"])
    unsent = frozenset(json.loads(exec_properties["unsent_columns"]))
    rows = read_rows(urls, rows_needed(demands.requests), unsent)
    signatures = read_signatures(open_tree(folder))
    data, _ = warmup_requests(signatures, rows, demands.requests, MODEL_NAME)
    requests = [RecordedRequest(log) for log in read_records([data], "the requests")]
    asked = {request.signature for request in requests}
    columns = {name for row in rows for name in row.features}
    for sentence in demands.missing(signatures, asked, columns):
        raise Objection(sentence, is_measured=False)
    notes = [
        f"signature {one.name!r} was not asked: the examples have no values for its inputs"
        for one in signatures
        if one.name not in asked and one.name not in demands.unserved_signatures
    ]
    return requests, notes


@contextmanager
def _local(folder: str) -> Iterator[Path]:
    """The model on this machine: itself, or a copy of one that is far away."""
    if "://" not in folder:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="candidate-") as temporary:
        io_utils.copy_dir(folder, temporary)
        yield Path(temporary)


def _bless(blessing: Artifact, model: Artifact, summary: Mapping[str, Any]) -> None:
    blessed = bool(summary["blessed"])
    reason = "; ".join(summary["reasons"])
    blessing.set_int_custom_property("blessed", int(blessed))
    blessing.set_string_custom_property("reason", reason)
    blessing.set_int_custom_property("repeatable", int(summary["repeatable"]))
    blessing.set_string_custom_property("current_model", model.uri)
    blessing.set_int_custom_property("current_model_id", model.id)
    io_utils.write_string_file(f"{blessing.uri}/{SUMMARY_FILE}", json.dumps(summary, indent=1))
    marker = _BLESSED_FILE if blessed else _NOT_BLESSED_FILE
    io_utils.write_string_file(f"{blessing.uri}/{marker}", "")
    if not blessed:
        logging.getLogger(__name__).warning("not blessed by the infra validation: %s", reason)
