# Two images: `api` answers, `mlflow` is the registry. Both are the locked packages and our code on
# Debian's Python, run by a user without a name or rights. `make images` builds them.
#
# A package index other than PyPI: export PIP_INDEX_URL before `make images`.

FROM python:3.11-slim-bookworm AS build
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# Without pip: what answers requests installs nothing.
RUN python -m venv --without-pip /opt/venv
WORKDIR /app


FROM build AS build-api
COPY serve/requirements.txt serve/
RUN pip --python /opt/venv/bin/python install --quiet --no-compile --no-deps --require-hashes -r serve/requirements.txt \
 && find /opt/venv -type d \( -name tests -o -name test \) -prune -exec rm -r {} +
COPY stages/__init__.py stages/
COPY stages/shared stages/shared
COPY stages/registry stages/registry
COPY serve serve
COPY params.yaml ./
# Python keeps what it compiled of the modules that are used, and of no others.
RUN PROMETHEUS_MULTIPROC_DIR=/tmp /opt/venv/bin/python -c "import serve.__main__, serve.main, serve.watch, onnxruntime, \
    gunicorn.app.wsgiapp, gunicorn.workers.ggevent, prometheus_client.multiprocess, sqlalchemy.dialects.sqlite, \
    sqlalchemy.dialects.postgresql, psycopg2, mlflow.artifacts, mlflow.store.artifact.mlflow_artifacts_repo"


FROM python:3.11-slim-bookworm AS api
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
    MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true SERVE_HOST=0.0.0.0 SERVE_TOKEN_FILE=token/token
# OpenMP, which LightGBM's library is linked with: it says what moves a probability.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libgomp1 >/dev/null \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY --from=build-api /opt/venv /opt/venv
COPY --from=build-api /app /app
WORKDIR /app
# All that it ever writes: the model in its place, what was fetched of the registry, and the token
# that its clients need, which it makes on its first start.
RUN mkdir -p models/serving data/memory token && chown -R 10001:10001 models data token && chmod 700 token
USER 10001:10001
EXPOSE 8000
# Alive, with or without a model; whether it has one is for the load balancer to ask, at /ready.
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
CMD ["python", "-m", "serve"]


FROM build AS build-mlflow
COPY ops/mlflow/requirements.txt ./
RUN pip --python /opt/venv/bin/python install --quiet --no-compile --no-deps --require-hashes -r requirements.txt \
 && find /opt/venv -type d \( -name tests -o -name test \) -prune -exec rm -r {} +
RUN /opt/venv/bin/python -c "import mlflow.cli, mlflow.server, mlflow.server.fastapi_app, psycopg2, \
    mlflow.store.tracking.sqlalchemy_store, mlflow.store.model_registry.sqlalchemy_store"


FROM python:3.11-slim-bookworm AS mlflow
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp \
    MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
COPY --from=build-mlflow /opt/venv /opt/venv
WORKDIR /mlflow
RUN mkdir artifacts && chown -R 10001:10001 .
USER 10001:10001
EXPOSE 5000
HEALTHCHECK --interval=2s --timeout=5s --start-period=60s --retries=5 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:5000/health', timeout=4)"]
# The store's address and the hosts that it answers to come from the environment: see compose.yaml.
# One worker answers many requests at once, in threads; a second one takes 200 MB, and makes each
# start a third longer.
CMD ["mlflow", "server", "--host", "0.0.0.0", "--workers", "1", "--serve-artifacts", "--artifacts-destination", "/mlflow/artifacts", \
     "--uvicorn-opts", "--no-access-log"]
