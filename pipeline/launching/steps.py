"""The steps of the graph by the ids of their nodes, in the order in which people think of them."""

__all__ = ["STEPS"]

STEPS = (
    "examples",
    "statistics",
    "schema",
    "anomalies",
    "gate",
    "transform",
    "trainer",
    "baseline",
    "evaluator",
    "infra_validator",
    "pusher",
)
