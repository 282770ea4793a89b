# Trains and exports: `docker build -f docker/trainer.Dockerfile -t astec-trainer .`, then
# `docker run --rm --user "$(id -u)" -v ./data:/data:ro -v ./runs:/runs astec-trainer /data /runs/mine`, and the same with
# `--entrypoint astec-export` and `/runs/mine /runs/mine-artifact`. It computes on the CPU; `--gpus all` lends it a GPU.
ARG BASE_IMAGE=python:3.11-slim-bookworm
# See server.Dockerfile.
ARG CFLAGS=-march=x86-64-v3

FROM ${BASE_IMAGE} AS builder
# hnswlib has no wheel. python3-dev is for base images whose Python is the distribution's; python:* have the headers.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/astec
ENV PATH=/opt/astec/bin:$PATH PIP_NO_CACHE_DIR=1
WORKDIR /src
# The package index's torch brings CUDA, several GB of it; TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu has the
# one that does not.
ARG TORCH=torch==2.13.0
ARG TORCH_INDEX_URL=
RUN pip install ${TORCH_INDEX_URL:+--extra-index-url "${TORCH_INDEX_URL}"} "${TORCH}"
# Dependencies have a layer of their own, so that a change of the code neither fetches nor compiles them again.
COPY pyproject.toml docker/requirements.py ./
ARG CFLAGS
RUN python requirements.py train > requirements.txt \
    && HNSWLIB_NO_NATIVE=1 CFLAGS="${CFLAGS}" CXXFLAGS="${CFLAGS}" pip install --requirement requirements.txt
COPY . .
RUN pip install --no-deps .

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="astec-trainer" \
    org.opencontainers.image.description="Trains models that match short texts to millions of labels" \
    org.opencontainers.image.licenses="Apache-2.0"
# Not root, and free to write to /runs where nothing is mounted there.
RUN groupadd --gid 10001 astec \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin astec \
    && install --directory --owner=10001 --group=10001 /data /runs
COPY --from=builder /opt/astec /opt/astec
# Compiled kernels go where any user may write; training runs for minutes, so they need not be in the image.
# onnxruntime reports to its makers unless it is told not to.
ENV PATH=/opt/astec/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    NUMBA_CACHE_DIR=/tmp/kernels \
    MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
VOLUME ["/data", "/runs"]
ENTRYPOINT ["astec-train"]
CMD ["--help"]
