# SPDX-License-Identifier: Apache-2.0
#
# One image for the operator, the webhook, the audit service and the command line:
#
#   docker build --tag REGISTRY/pedigree:0.1.0 .
#   docker run --rm REGISTRY/pedigree:0.1.0                       (says what there is)
#   docker run --rm --volume "$PWD:/models:ro" REGISTRY/pedigree:0.1.0 \
#     pedigree fingerprint file:///models/mine
#
# It needs no writable root file system; only /tmp and PEDIGREE_DATA_DIR are written to.
#
# A tag can be moved. To build from what you have checked, give the digest with it:
#
#   docker buildx imagetools inspect python:3.11-slim-bookworm    (prints the digest)
#   docker build --build-arg BASE=python:3.11-slim-bookworm@sha256:... .
#
# Of the extras it has those that a model may need in a cluster: object stores, GGUF of few
# bits, signatures made with an identity. Others, or fewer:  --build-arg EXTRAS=cloud
#
# The same base twice: the environment that is made in the first stage refers to the
# interpreter by its path.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG EXTRAS=cloud,gguf,keyless
WORKDIR /src
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY operator operator
COPY webhook webhook
COPY audit audit
RUN python -m pip wheel --no-deps --wheel-dir /wheels .
# No pip inside, and nothing is compiled: what has no wheel for this platform fails here.
RUN python -m venv --without-pip /opt/pedigree \
 && python -m pip --python /opt/pedigree/bin/python install --only-binary=:all: "$(echo /wheels/*.whl)[${EXTRAS}]"

FROM ${BASE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Pedigree" \
      org.opencontainers.image.description="The lineage gate for AI models on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/pedigree /opt/pedigree
COPY --from=build /src/LICENSE /usr/share/doc/pedigree/LICENSE
# Modules are imported from where they are installed and never from the working folder;
# nothing is written beside them; what is logged is seen at once. Matrices are small: a
# pool of one thread for each core of the node would only wait for the others.
ENV PATH=/opt/pedigree/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OPENBLAS_NUM_THREADS=1 \
    HOME=/tmp
WORKDIR /
# By number: Kubernetes cannot tell that a named user is not root.
USER 65532:65532
# No entry point: the chart says `python -m pedigree_webhook`, people say `pedigree ...`.
CMD ["pedigree", "--help"]
# Kubernetes asks /healthz itself; there is no second opinion.
HEALTHCHECK NONE
