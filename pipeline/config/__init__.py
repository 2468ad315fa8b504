"""The typed configuration of one pipeline and its only reader."""

from pipeline.config.reader import Project, read_project
from pipeline.config.sections import Config

__all__ = ["Config", "Project", "read_project"]
