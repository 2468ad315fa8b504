"""The user's own `preprocessing_fn` and `run_fn`: found and checked as text, never run here."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from components.tables.nearest_name import did_you_mean
from serving.errors import UserError

if TYPE_CHECKING:
    from pipeline.config import Project

__all__ = ["OwnFunction", "check", "find"]

STEPS = {"preprocessing_fn": "transform", "run_fn": "trainer"}
"""The step in which each of the functions runs."""

_ARGUMENT = {"preprocessing_fn": "inputs", "run_fn": "fn_args"}


@dataclass(frozen=True)
class OwnFunction:
    """A function of the user's.

    Attributes:
        key: `preprocessing_fn` or `run_fn`.
        path: as the YAML has it: package.module.function.
        place: where the YAML says so, for messages.
        file: where its module is; None if there is no such module.
    """

    key: str
    path: str
    place: str
    file: Path | None

    @property
    def module(self) -> str:
        """The module's dotted name."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The function's name."""
        return self.path.rpartition(".")[2]

    def written_at(self) -> str:
        """Names file and line of the function, as far as they can be read."""
        if self.file is None:
            return self.path
        definition = _definition(ast.parse(self.file.read_text(encoding="utf-8")), self.name)
        line = f" line {definition.lineno}" if definition else ""
        return f"{self.file}{line}, {self.name}"


def find(project: Project) -> list[OwnFunction]:
    """Lists the functions that a project brings along."""
    found = []
    for key in STEPS:
        path = getattr(project.config, key)
        if path is not None:
            module = path.rpartition(".")[0]
            file = _module_file(project.folder, module)
            found.append(OwnFunction(key, path, project.place(key), file))
    return found


def check(project: Project) -> None:
    """Refuses functions that aren't there, can't be called, or import what isn't installed.

    Raises:
        UserError: the first fault found, with file and line.
    """
    for function in find(project):
        if function.file is None:
            made = project.folder / (function.module.replace(".", "/") + ".py")
            raise UserError(
                f"{function.place}: there is no module '{function.module}'.",
                expected=f"a Python module below {project.folder}, or an installed one",
                fix=f"make {made}, or correct the path",
            )
        tree = _parse(function.file, function.place)
        _check_name(function, tree)
        _check_arguments(function, tree)
        _check_imports(function.file, tree, project.folder, function.place, set())


def _parse(file: Path, place: str) -> ast.Module:
    try:
        return ast.parse(file.read_text(encoding="utf-8"), str(file))
    except (SyntaxError, UnicodeDecodeError) as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UserError(
            f"{place}: {file}{line} is not valid Python: {reason}.",
            expected="a module that imports",
            fix="mend the line",
        ) from error


def _check_name(function: OwnFunction, tree: ast.Module) -> None:
    names = _defined_names(tree)
    if names is not None and function.name not in names:
        raise UserError(
            f"{function.place}: {function.file} defines no '{function.name}'.",
            expected=f"a function {function.name} in {function.module}",
            fix=did_you_mean(function.name, sorted(names)) or f"define {function.name}",
        )


def _check_arguments(function: OwnFunction, tree: ast.Module) -> None:
    """TFX calls with one positional argument; `preprocessing_fn` may take `custom_config` too."""
    definition = _definition(tree, function.name)
    if definition is None or definition.decorator_list:
        return
    given = definition.args
    positional = [each.arg for each in (*given.posonlyargs, *given.args)]
    required = set(positional[1 : len(positional) - len(given.defaults)])
    keywords = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    required |= {each.arg for each, default in keywords if default is None}
    required -= {"custom_config"} if function.key == "preprocessing_fn" else set()
    if (positional or given.vararg) and not required:
        return
    argument = _ARGUMENT[function.key]
    raise UserError(
        f"{function.place}: {function.file} line {definition.lineno}: {function.name} takes "
        f"({ast.unparse(given)}).",
        expected=f"a function of one argument: def {function.name}({argument})",
        fix="give the others defaults" if positional else f"add the argument {argument}",
    )


def _check_imports(file: Path, tree: ast.Module, folder: Path, place: str, seen: set[Path]) -> None:
    """Refuses a top-level import of what is not installed, in modules of the project's too."""
    seen.add(file)
    for name, line in _imports(tree):
        own = _own_module(folder, name)
        if own is None:
            top = name.partition(".")[0]
            if not _is_importable(folder, top):
                raise UserError(
                    f"{place}: {file} line {line} imports '{name}', and there is no '{top}'.",
                    expected=f"modules that are installed, or lie below {folder}",
                    fix=f"install {top} beside kubetfx, or correct the import",
                )
        elif own not in seen:
            _check_imports(own, _parse(own, place), folder, place, seen)


def _imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yields the absolute imports that run whenever the module is imported."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module, node.lineno


def _is_importable(folder: Path, top: str) -> bool:
    if (folder / top).exists() or top in sys.modules or top in sys.stdlib_module_names:
        return True
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False


def _own_module(folder: Path, module: str) -> Path | None:
    path = folder.joinpath(*module.split("."))
    return next(
        (file for file in (path.with_suffix(".py"), path / "__init__.py") if file.exists()), None
    )


def _module_file(folder: Path, module: str) -> Path | None:
    own = _own_module(folder, module)
    if own is not None:
        return own
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _definition(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    """The last definition of a function at a module's top level."""
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    return found[-1] if found else None


def _defined_names(tree: ast.Module) -> set[str] | None:
    """Names bound at a module's top level; None when `import *` may bind any."""
    names: set[str] = set()
    for node in tree.body:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                names.add(node.name)
            case ast.Assign():
                names.update(target.id for target in node.targets if isinstance(target, ast.Name))
            case ast.Import() | ast.ImportFrom():
                for alias in node.names:
                    if alias.name == "*":
                        return None
                    names.add((alias.asname or alias.name).partition(".")[0])
            case ast.If() | ast.Try():
                return None
    return names
