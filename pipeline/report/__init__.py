"""What a step or a run looks like, as self-contained HTML.

`fragments` are the pieces, `step_pages` puts them together for one step; Kubeflow's dashboard and
a run's report show the same pieces.
"""
