"""The same graph on open-source Kubeflow Pipelines: compile, check, submit, and what a step shows.

    tasks        which nodes of the graph share a task
    task_slice   the part of the IR that a task carries in its arguments
    parameters   what a person may set at the start of a run
    outputs      the artifacts that a task shows on the dashboard
    spec         all of that written down by the kfp SDK
    preflight    what is refused because it can't work on a cluster
    submit       hands a spec to a cluster

`pipeline.node` is what runs inside a task.
"""
