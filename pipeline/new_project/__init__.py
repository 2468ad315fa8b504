"""`kubetfx init`: from a table of the user's own to a pipeline.yaml that runs as written.

table_guess   how the table is read: format, delimiter, words for no value
column_guess  what a column means: a kind of feature, or a reason to leave it out
label_guess   what the label means: the task, and how hard it is
draft         all of that as YAML
project_file  the file, where it belongs
"""

from pipeline.new_project.project_file import write

__all__ = ["write"]
