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
# See server.Dockerfile, for these and for the hashes.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/astec
ENV PATH=/opt/astec/bin:/opt/build/bin:$PATH PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY locks locks
RUN pip install --require-hashes --requirement locks/build.txt
ARG CFLAGS
RUN HNSWLIB_NO_NATIVE=1 CFLAGS="${CFLAGS}" CXXFLAGS="${CFLAGS}" \
    pip wheel --require-hashes --no-build-isolation --no-deps --wheel-dir /wheels --requirement locks/train.txt \
    && pip --python /opt/astec/bin/python install --no-index --no-deps /wheels/*.whl \
    && rm -r /wheels
# The package index's torch brings CUDA, several GB of it; TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu has the
# one that does not. A build chosen so has no hash in the locks; of what else it needs, it takes what is locked.
ARG TORCH=torch==2.13.0
ARG TORCH_INDEX_URL=
RUN pip --python /opt/astec/bin/python install ${TORCH_INDEX_URL:+--extra-index-url "${TORCH_INDEX_URL}"} "${TORCH}"
COPY . .
RUN pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . \
    && pip --python /opt/astec/bin/python install --no-index --no-deps /wheels/*.whl

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="astec-trainer" \
    org.opencontainers.image.description="Trains models that match short texts to millions of labels" \
    org.opencontainers.image.licenses="Apache-2.0"
# Not root, and free to write to /runs where nothing is mounted there, and to a new volume on /artifact.
RUN groupadd --gid 10001 astec \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin astec \
    && install --directory --owner=10001 --group=10001 /data /runs /artifact
COPY --from=builder /opt/astec /opt/astec
COPY --chmod=0755 docker/demo.sh /opt/astec/bin/
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
