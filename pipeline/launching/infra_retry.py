"""Lets a model that was too slow on a busy day be tried again on a quiet one.

TFX answers a step from its cache when nothing about it has changed, also with a refusal. One that
rests on a measurement (too slow, too large, crashed, hung) says of the machine as much as of the
model, so it is not repeated unseen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_metadata import MetadataStore
    from tfx.proto.orchestration import pipeline_pb2

__all__ = ["NODE_TYPE", "try_again_if_measured"]

NODE_TYPE = "components.infra_validator.component.InfraValidator"


def try_again_if_measured(ir: pipeline_pb2.Pipeline, store: MetadataStore) -> bool:
    """Switches the cache off for the infra validator if its last refusal was a measurement.

    Args:
        ir: the run's own copy, which is changed.
        store: where the last blessing is recorded.

    Returns:
        Whether the model is tried again.
    """
    blessings = store.get_artifacts_by_type("InfraBlessing")
    # On a cluster other pipelines record in the same store.
    pipeline = store.get_context_by_type_and_name("pipeline", ir.pipeline_info.id)
    if pipeline is not None:
        made = {artifact.id for artifact in store.get_artifacts_by_context(pipeline.id)}
        blessings = [artifact for artifact in blessings if artifact.id in made]
    if not blessings:
        return False
    facts = max(blessings, key=lambda one: int(one.id)).custom_properties
    if facts["blessed"].int_value == 1 or facts["repeatable"].int_value == 1:
        return False
    for node in ir.nodes:
        if node.pipeline_node.node_info.type.name == NODE_TYPE:
            node.pipeline_node.execution_options.caching_options.enable_cache = False
    return True
