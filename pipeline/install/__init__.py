"""From a bare Python to a working `.venv`: what `make setup` runs.

Everything here is standard library only, because it runs before the environment exists.

    interpreter    which Python the environment is made with
    uv_tool        the installer: uv from PATH, else the pinned one, privately
    lock_file      the lock, and the part of it that an old glibc needs treated apart
    environment    the steps, the stamp that makes a second call quick
    glibc_repair   two extension modules made to load on an older glibc
    relock         `make lock`
"""
