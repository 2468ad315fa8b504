"""From a bare Python to a working `.venv`: what `make setup` runs.

Everything here is standard library only, because it runs before the environment exists.
"""
