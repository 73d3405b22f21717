# One image for every service of compose.yaml: what a container does is the command it is given.
#
# Behind a company's proxy or CA:
#   docker compose build --build-arg HTTPS_PROXY=... --build-arg PIP_INDEX_URL=...
#   --build-arg PYTHON_IMAGE=...   a base image of your own that trusts your CA
ARG PYTHON_IMAGE=python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /opt/swarm
# Changes seldom, takes long: a layer of its own.
COPY requirements-runtime.lock ./
RUN /opt/swarm/bin/python -m pip install --require-hashes -r requirements-runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY swarm swarm
COPY experts experts
COPY workers workers
RUN /opt/swarm/bin/python -m pip install --no-deps .

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="swarm-router" \
      org.opencontainers.image.licenses="MIT"
# A fixed number, so that mounted folders can be given to it and the kubelet's runAsNonRoot can see it.
RUN groupadd --gid 10001 swarm \
    && useradd --uid 10001 --gid 10001 --create-home --shell /usr/sbin/nologin swarm
COPY --from=build /opt/swarm /opt/swarm
ENV PATH=/opt/swarm/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /home/swarm
STOPSIGNAL SIGTERM
ENTRYPOINT ["swarm"]
CMD ["--help"]
