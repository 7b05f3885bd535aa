# syntax=docker/dockerfile:1
#
#     docker build --tag flowrunner:dev .
#     docker run --rm --read-only --tmpfs /tmp --cap-drop ALL -v ./flows:/etc/flowrunner/flows:ro flowrunner:dev
#
# With a bill of materials and its origin, as attestations of the image:
#
#     docker buildx build --sbom=true --provenance=mode=max --push --tag REGISTRY/flowrunner:VERSION .

FROM python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1
WORKDIR /src
RUN ["python", "-m", "venv", "/opt/flowrunner"]

# In a layer of its own: it changes only when requirements/main.txt does. Wheels only, so no compiler is needed.
COPY requirements/main.txt requirements/
RUN ["/opt/flowrunner/bin/pip", "install", "--require-hashes", "--no-deps", "--only-binary=:all:", "-r", "requirements/main.txt"]

COPY LICENSE README.md pyproject.toml ./
COPY flowrunner flowrunner
COPY nodes nodes
RUN ["/opt/flowrunner/bin/pip", "install", "--no-deps", "--no-build-isolation", "."]

# What only installs goes; byte code that is checked by no date is the same in every build, and a read-only root needs it.
RUN /opt/flowrunner/bin/pip uninstall --yes poetry-core pip \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/flowrunner/lib \
    && install --directory --owner=65532 --group=65532 --mode=0700 /var/lib/flowrunner \
    && install --directory /etc/flowrunner/flows


FROM python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="flowrunner" \
      org.opencontainers.image.description="Run flow graphs written in YAML: Home Assistant and MQTT in, InfluxDB out." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13.15-slim-trixie" \
      org.opencontainers.image.base.digest="sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b"

COPY --from=build /opt/flowrunner /opt/flowrunner
COPY --from=build /etc/flowrunner /etc/flowrunner
COPY --from=build --chown=65532:65532 /var/lib/flowrunner /var/lib/flowrunner

ENV PATH=/opt/flowrunner/bin:$PATH \
    HOME=/var/lib/flowrunner \
    PYTHONDONTWRITEBYTECODE=1 \
    FLOWRUNNER_STATE_DIR=/var/lib/flowrunner \
    FLOWRUNNER_HTTP_HOST=0.0.0.0 \
    FLOWRUNNER_LOG_FORMAT=json

USER 65532:65532
WORKDIR /var/lib/flowrunner
VOLUME ["/var/lib/flowrunner"]
EXPOSE 8080
# Flows are drained, journal and checkpoints committed; give it 30 s (docker run --stop-timeout 30).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --start-interval=2s --retries=3 \
    CMD ["flowrunner", "health"]
ENTRYPOINT ["flowrunner"]
CMD ["run", "/etc/flowrunner/flows"]
