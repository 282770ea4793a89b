# Loads a server, steered from a web page: `docker build -f docker/locust.Dockerfile -t astec-locust .`, then
# `docker run --rm --network host astec-locust --web-host 127.0.0.1 --host http://127.0.0.1:8000` and a browser on port 8089.
# The queries are the demo log's, which the package draws itself; `--queries FILE` sends others.
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
    pip wheel --require-hashes --no-build-isolation --no-deps --wheel-dir /wheels --requirement locks/locust.txt \
    && pip --python /opt/astec/bin/python install --no-index --no-deps /wheels/*.whl \
    && rm -r /wheels
COPY . .
RUN pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . \
    && pip --python /opt/astec/bin/python install --no-index --no-deps /wheels/*.whl
# Locust takes a path, and where packages are installed depends on the base image's Python.
RUN cd / && ln -s "$(python -c 'import astec.loadtest as package; print(package.__path__[0])')/locustfile.py" /opt/astec/locustfile.py

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="astec-locust" \
    org.opencontainers.image.description="Loads a server that matches short texts to labels, from a web page" \
    org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 astec \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin astec
COPY --from=builder /opt/astec /opt/astec
ENV PATH=/opt/astec/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/tmp/kernels \
    LOCUST_LOCUSTFILE=/opt/astec/locustfile.py
USER 10001:10001
EXPOSE 8089
ENTRYPOINT ["locust"]
