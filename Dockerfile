# One image for web, worker and migrations; workers sweep by themselves. `make rehearse` runs each step
# of this file without Docker.
FROM python:3.13-slim-trixie AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
COPY requirements/image.txt requirements/assets.txt /requirements/
# Wheels alone: nothing is compiled, so no compiler is needed in any stage. Then pip has done its work.
RUN /venv/bin/pip install --only-binary :all: --require-hashes -r /requirements/image.txt \
 && /venv/bin/pip install --only-binary :all: --require-hashes --no-deps -r /requirements/assets.txt \
 && /venv/bin/pip uninstall --yes --quiet pip
COPY . /app
WORKDIR /app
# DEBUG only for this step, since it has no secrets; the files are those of a deployment.
RUN DEBUG=1 STATICFILES_STORAGE=whitenoise.storage.CompressedManifestStaticFilesStorage \
    /venv/bin/python manage.py collectstatic --no-input --verbosity 0 \
 && /venv/bin/python -m compileall -q evalsuite experiments llm_routing playground

FROM python:3.13-slim-trixie
RUN useradd --uid 10001 --create-home --home-dir /data evalsuite \
 && rm -rf /usr/local/bin/pip* /usr/local/lib/python3.13/site-packages/pip* /usr/local/lib/python3.13/ensurepip
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
# Code belongs to root and is not written to: the root file system may be read-only. What is written goes to
# /tmp, and to /data where the database is SQLite.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DATA_DIR=/data
USER 10001
EXPOSE 8000
# With a name that the site answers to, since it refuses all others.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD python -c "import os, urllib.request as u; \
  host = os.environ.get('ALLOWED_HOSTS', '').split(',')[0].lstrip('.'); \
  u.urlopen(u.Request('http://127.0.0.1:8000/healthz', headers={'Host': host} if host.strip('*') else {}), timeout=2)"
CMD ["uvicorn", "evalsuite.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--lifespan", "off", \
     "--http", "evalsuite.http:BoundedHeads", \
     "--no-access-log", "--no-server-header", "--no-proxy-headers", "--timeout-graceful-shutdown", "20"]
