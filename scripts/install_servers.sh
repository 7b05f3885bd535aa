#!/usr/bin/env bash
# Install the servers that the tests run against, as Debian packages. Does nothing when they are there.
set -euo pipefail
export PATH=$PATH:/usr/sbin

declare -A package_of=(
  [mosquitto]=mosquitto
  [mosquitto_pub]=mosquitto-clients
  [influxd]=influxdb
  [chromium]=chromium
  [victoria-metrics]=victoria-metrics
  [promtool]=prometheus
)

missing=()
for program in "${!package_of[@]}"; do
  command -v "$program" >/dev/null || missing+=("${package_of[$program]}")
done
if ((${#missing[@]} == 0)); then exit 0; fi

become_root=()
if ((EUID != 0)); then become_root=(sudo --non-interactive); fi
if ! command -v apt-get >/dev/null || ! "${become_root[@]}" true 2>/dev/null; then
  echo "the tests need these Debian packages, and only root can install them: ${missing[*]}" >&2
  exit 1
fi
echo "installing ${missing[*]}"
"${become_root[@]}" apt-get update -qq
"${become_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \
  "${missing[@]}" >/dev/null
