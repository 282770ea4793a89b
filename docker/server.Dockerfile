# Serves an artifact: `docker build -f docker/server.Dockerfile -t astec-server .`, then
# `docker run --rm -p 8000:8000 -v ./artifacts/demo:/artifact:ro astec-server`.
ARG BASE_IMAGE=python:3.11-slim-bookworm
# The oldest CPU that the image runs on: compiled for the machine that builds it, it could die of an illegal instruction
# on another. For older ones x86-64-v2; elsewhere than on x86-64 `--build-arg CFLAGS= --build-arg NUMBA_CPU_NAME=generic`.
ARG CFLAGS=-march=x86-64-v3
ARG NUMBA_CPU_NAME=x86-64-v3

FROM ${BASE_IMAGE} AS builder
# hnswlib has no wheel. python3-dev is for base images whose Python is the distribution's; python:* have the headers.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev \
    && rm -rf /var/lib/apt/lists/*
# What builds has an environment of its own; the one that is shipped has no installer.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/astec
ENV PATH=/opt/astec/bin:/opt/build/bin:$PATH PIP_NO_CACHE_DIR=1
WORKDIR /src
# Dependencies have a layer of their own, so that a change of the code neither fetches nor compiles them again. Every file
# is fetched by its hash, build requirements too: pip would not check those of an isolated build.
COPY locks locks
RUN pip install --require-hashes --requirement locks/build.txt
ARG CFLAGS
RUN HNSWLIB_NO_NATIVE=1 CFLAGS="${CFLAGS}" CXXFLAGS="${CFLAGS}" \
    pip wheel --require-hashes --no-build-isolation --no-deps --wheel-dir /wheels --requirement locks/serve.txt \
    && pip --python /opt/astec/bin/python install --no-index --no-deps /wheels/*.whl \
    && rm -r /wheels
COPY . .
RUN pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . \
    && pip --python /opt/astec/bin/python install --no-index --no-deps /wheels/*.whl

# To compile the kernels takes 7 of the 8 seconds that a start takes, in every container; so they
# are compiled here, by predictions with a toy model, which also shows that the installation can predict.
FROM builder AS kernels
RUN pip --python /opt/astec/bin/python install --require-hashes --requirement locks/export.txt
ARG NUMBA_CPU_NAME
# Features left to the CPU's name: numba takes a compiled kernel only where name and features are those it was made for.
RUN NUMBA_CPU_NAME="${NUMBA_CPU_NAME}" NUMBA_CPU_FEATURES= NUMBA_CACHE_DIR=/opt/kernels python docker/compile_kernels.py

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="astec-server" \
    org.opencontainers.image.description="Matches short texts to millions of labels over HTTP" \
    org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 astec \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin astec
COPY --from=builder /opt/astec /opt/astec
COPY --from=kernels /opt/kernels /opt/kernels
COPY --chmod=0755 docker/serve.sh docker/healthcheck.py /opt/astec/bin/
ARG NUMBA_CPU_NAME
# onnxruntime reports to its makers unless it is told not to.
ENV PATH=/opt/astec/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    NUMBA_CPU_NAME=${NUMBA_CPU_NAME} \
    NUMBA_CPU_FEATURES= \
    NUMBA_CACHE_DIR=/tmp/kernels \
    ASTEC_HOST=0.0.0.0 \
    ASTEC_PORT=8000 \
    ASTEC_ARTIFACT=/artifact
USER 10001:10001
EXPOSE 8000
# The start period covers the verification of a large artifact on a slow disk; a failure within it does not count.
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s --retries=3 CMD ["healthcheck.py"]
ENTRYPOINT ["serve.sh"]
