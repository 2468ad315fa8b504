# The image of every step on Kubeflow: the locked packages, this project, and the user's package.
#
#   make image                                     kubetfx:<version>, examples/chicago_taxi inside
#   make image PROJECT=path/to/project IMAGE=registry/name:tag
#
# The project comes as a build context of its own, so that it may lie anywhere:
#   docker build --build-context project=examples/chicago_taxi -t kubetfx:0.1.0 .
#
# BASE is any image with Python 3.11 to 3.13 on Debian 13 (glibc 2.39 or newer, so that no wheel
# needs a repair). Pin it by digest where builds must repeat bit by bit.
ARG BASE=docker.io/library/python:3.13-slim-trixie

FROM ${BASE} AS build
ENV PYTHONDONTWRITEBYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_SYSTEM_CERTS=true \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /build
COPY requirements/uv.txt requirements/
RUN python3 -m venv /uv && /uv/bin/pip install --no-cache-dir --require-hashes -r requirements/uv.txt
# Of everything that is locked (tests and their servers too), what a step needs: same versions,
# same hashes.
COPY requirements/ requirements/
COPY setup.py pyproject.toml LICENSE ./
COPY pipeline/__init__.py pipeline/
RUN /uv/bin/uv pip compile setup.py --extra cluster --extra examples \
        --constraints requirements/lock.txt --overrides requirements/overrides.txt \
        --generate-hashes --no-header --quiet --output-file image.txt \
    && /uv/bin/uv venv --quiet --python "$(command -v python3)" /opt/kubetfx \
    && /uv/bin/uv pip install --quiet --no-cache --python /opt/kubetfx/bin/python \
        --require-hashes --no-deps --compile-bytecode --build-constraints requirements/lock.txt \
        -r image.txt
COPY pipeline/ pipeline/
COPY components/ components/
COPY trainer/ trainer/
COPY serving/ serving/
RUN /uv/bin/uv pip install --quiet --no-cache --python /opt/kubetfx/bin/python \
        --no-deps --compile-bytecode .

FROM ${BASE}
ARG VERSION=0
LABEL org.opencontainers.image.title="kubetfx" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/kubetfx /opt/kubetfx
COPY --from=project . /project/
# Kubernetes checks runAsNonRoot against a number.
RUN useradd --uid 1000 --user-group --create-home kubetfx \
    && /opt/kubetfx/bin/python -m compileall -q /project
USER 1000:1000
ENV PATH=/opt/kubetfx/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/project \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/home/kubetfx \
    TF_CPP_MIN_LOG_LEVEL=2
WORKDIR /home/kubetfx
CMD ["python", "-m", "pipeline.node", "--help"]
