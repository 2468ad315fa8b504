"""A run whose payloads are elsewhere finds nothing in an object store, and does not ask one."""

import subprocess
import sys

CODE = """
import sys
from pipeline.launching import lean_imports
lean_imports.install()
from tfx.dsl.io import fileio
from pipeline.staging import object_store, tfx_plugin
tfx_plugin.register_nothing_there()
assert not fileio.exists("s3://bucket/root/examples/examples/1")
assert object_store.store.cache_info().currsize == 0
assert "tensorflow" not in sys.modules
"""


def test_cache_that_points_into_a_store_of_another_run_is_a_miss() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
