"""Two memories for Beam's pipeline construction, which asks the same questions thousands of times.

For every transform Beam inspects the signature of each method of its DoFn, several times, and
builds an argument parser for each look at an option. On a Transform step of 14 features that is
90,000 signatures and 2,500 parsers. The answers depend on the function, and on the options' class,
only.

Source: `apache_beam/transforms/core.py` (`get_function_args_defaults`) and
`apache_beam/options/pipeline_options.py` (`PipelineOptions.view_as`), Beam 2.77. A test compares
the upstream source with the one that these patches were written for.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["install"]

_Answer = tuple[list[str], list[Any]]


def install() -> None:
    """Puts the memories in place, once.

    Raises:
        AttributeError: Beam no longer has what is patched; remove or renew the patch then.
    """
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.transforms import core

    if not hasattr(core.get_function_args_defaults, "__wrapped__"):
        core.get_function_args_defaults = _remembering_functions(core.get_function_args_defaults)
    if not hasattr(PipelineOptions.view_as, "__wrapped__"):
        PipelineOptions.view_as = _remembering_views(PipelineOptions.view_as)


def _remembering_functions(original: Callable[[Any], _Answer]) -> Callable[[Any], _Answer]:
    """Asks once per function; a method bound to another object has the same arguments."""
    known: weakref.WeakKeyDictionary[Any, dict[bool, _Answer]] = weakref.WeakKeyDictionary()

    @functools.wraps(original)
    def remembered(function: Any) -> _Answer:
        underlying = getattr(function, "__func__", function)
        try:
            answers = known.setdefault(underlying, {})
        except TypeError:  # neither hashable nor weakly referable: a builtin, a partial
            return original(function)
        is_bound = underlying is not function
        if is_bound not in answers:
            answers[is_bound] = original(function)
        names, defaults = answers[is_bound]
        return list(names), list(defaults)

    return remembered


def _remembering_views(original: Callable[[Any, type], Any]) -> Callable[[Any, type], Any]:
    """Makes one view of each class per set of options; all views share the options' values."""
    views: dict[int, tuple[Any, dict[type, Any]]] = {}

    @functools.wraps(original)
    def remembered(options: Any, cls: type) -> Any:
        values = options._all_options
        # The values are kept alive with their views, so that the id stays theirs.
        kept, by_class = views.setdefault(id(values), (values, {}))
        assert kept is values
        if cls not in by_class:
            by_class[cls] = original(options, cls)
        return by_class[cls]

    return remembered
