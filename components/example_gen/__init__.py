"""The component that turns tables into splits of tf.Examples.

`component` is what a graph is built from; `driver` and `executor` are what TFX's Launcher runs.
"""
