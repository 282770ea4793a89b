#!/bin/sh
# demo.sh FOLDER ARTIFACT: trains and exports the model of `make demo` into the volume ARTIFACT, with temporary files in
# FOLDER. Does nothing if there is a model already, or if another one is to be served (ASTEC_ARTIFACT_DIR).
set -eu
artifact=$2
if [ -n "${ASTEC_ARTIFACT_DIR:-}" ]; then
    echo "demo.sh: not needed, $ASTEC_ARTIFACT_DIR is served"
    exit
fi
if [ -f "$artifact/manifest.json" ]; then
    echo "demo.sh: not needed, the model is there"
    exit
fi
cd "$1"
rm -rf runs artifacts
astec-train demo-log runs/demo-log --queries 30000
recipes=$(python -c 'import astec.trainer; print(astec.trainer.__path__[0])')/recipes
astec-train runs/demo-log runs/demo --config "$recipes/demo.toml"
astec-export runs/demo artifacts/demo --training-texts
# A volume cannot be replaced by a rename. Therefore the manifest, which makes a folder a model, is moved there last and
# atomically.
find "$artifact" -mindepth 1 -delete
mv artifacts/demo/manifest.json artifacts
cp -R artifacts/demo/. "$artifact"
cp artifacts/manifest.json "$artifact/manifest.json.part"
mv "$artifact/manifest.json.part" "$artifact/manifest.json"
rm -rf runs artifacts
