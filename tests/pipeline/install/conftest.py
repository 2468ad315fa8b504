"""A small library that asks for a newer system, built here."""

import platform
import subprocess
from pathlib import Path

import pytest

from pipeline.install.glibc_repair import host_compilers

# What a wheel built on a newer system asks for: symbols at versions that this host's
# libraries may not have.
FUTURE_LIBRARIES = (
    ("libc.so.6", "GLIBC_2.38", "long __isoc23_strtol(const char *t, char **e, int b)"),
    ("libstdc++.so.6", "GLIBCXX_3.4.32", "long _ZSt21ios_base_library_initv(void)"),
)
EXTENSION = """
extern long __isoc23_strtol(const char *, char **, int);
extern long _ZSt21ios_base_library_initv(void);
long parse(const char *text) { return __isoc23_strtol(text, 0, 10); }
void *streams(void) { return (void *)_ZSt21ios_base_library_initv; }
"""


def build(target: Path, source: str, *options: str) -> None:
    compiler = next(host_compilers())
    code = target.with_suffix(".c")
    code.write_text(source)
    command = [*compiler, "-shared", "-fPIC", "-nostdlib", str(code), "-o", str(target)]
    subprocess.run([*command, *options], check=True)


@pytest.fixture(scope="session")
def future_library(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A library which asks for glibc 2.38 and GCC 13, as the two real ones do."""
    if platform.system() != "Linux" or next(host_compilers(), None) is None:
        pytest.skip("built here: needs Linux and a C compiler")
    folder = tmp_path_factory.mktemp("future")
    stubs = []
    for soname, version, declaration in FUTURE_LIBRARIES:
        symbol = declaration.split("(")[0].split()[-1]
        script = folder / f"{soname}.map"
        script.write_text(f"{version} {{ global: {symbol}; local: *; }};\n")
        stub = folder / soname
        build(
            stub,
            f"{declaration} {{ return 0; }}",
            f"-Wl,-soname,{soname}",
            f"-Wl,--version-script={script}",
        )
        stubs.append(str(stub))
    library = folder / "extension.so"
    build(library, EXTENSION, *stubs)
    return library.read_bytes()
