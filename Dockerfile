# Headrace as an image. What is installed, and how, is the Makefile's: `make setup`.
FROM python:3.12-slim

RUN apt-get update \
 && apt-get install --yes --no-install-recommends make \
 && rm -rf /var/lib/apt/lists/*

# A user without rights, and the folders that volumes are put on: they take its ownership.
RUN useradd --create-home --uid 10001 headrace \
 && install --directory --owner=headrace --group=headrace /opt/headrace /data /models
USER headrace
WORKDIR /opt/headrace
ENV PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 PYTHONDONTWRITEBYTECODE=1

# What others made: a layer that is built anew only when the locks change.
COPY --chown=headrace Makefile pyproject.toml requirements.lock requirements-bootstrap.lock README.md LICENSE ./
RUN make setup

# Headrace itself; touched, because its packages were not there the first time.
COPY --chown=headrace . .
RUN touch pyproject.toml && make setup

ENV PATH=/opt/headrace/.venv/bin:$PATH
ENTRYPOINT ["headrace"]
CMD ["--help"]
