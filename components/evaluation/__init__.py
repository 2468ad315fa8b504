"""The evaluator: scored rows, metrics per slice, TFMA's files, the model to beat."""
