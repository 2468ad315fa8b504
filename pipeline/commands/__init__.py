"""The groups of `kubetfx` commands, and how their answers look."""
