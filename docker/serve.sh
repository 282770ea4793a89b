#!/bin/sh
# Starts the server with the kernels that were compiled when the image was built. numba reads compiled kernels only from
# a folder that it may write to. The image's own file system may be read-only, so they are copied (1 MB) to /tmp.
set -eu
if ! { mkdir -p "$NUMBA_CACHE_DIR" && cp -R /opt/kernels/. "$NUMBA_CACHE_DIR"; }; then
    echo "serve.sh: cannot write to $NUMBA_CACHE_DIR; with a read-only root, mount a tmpfs on /tmp" >&2
    exit 2
fi
exec astec-serve "$@"
