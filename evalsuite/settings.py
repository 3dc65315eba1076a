"""All settings. The only file that reads the environment; `.env.example` lists what it reads."""

from __future__ import annotations

import sys
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from evalsuite import memory
from evalsuite.env import (
    DEBUGGING_FIELD_KEY,
    FOR_DEBUGGING,
    ROOT,
    read_environment,
    require_good_field_keys,
    require_good_secret,
)

memory.load_undisturbed()
env = read_environment()

BASE_DIR = ROOT
DEBUG = env.bool("DEBUG", default=False)
# Everything that a self-contained installation writes: database, logs, the demo's state.
DATA_DIR = Path(env.str("DATA_DIR", default=str(ROOT / "var")))


def _secret(name: str) -> str:
    value: str = env.str(name, default="")
    if DEBUG and not value:
        return f"{FOR_DEBUGGING}{name.lower()}-for-debugging-only-0000000000"
    if not DEBUG:
        require_good_secret(name, value)
    return value


SECRET_KEY = _secret("SECRET_KEY")
JWT_SIGNING_KEY = _secret("JWT_SIGNING_KEY")
# Fernet keys; the first encrypts, all of them decrypt, so that a key can be replaced.
FIELD_ENCRYPTION_KEYS = env.list("FIELD_ENCRYPTION_KEYS", default=[])
if DEBUG:
    FIELD_ENCRYPTION_KEYS = FIELD_ENCRYPTION_KEYS or [DEBUGGING_FIELD_KEY]
else:
    require_good_field_keys(FIELD_ENCRYPTION_KEYS)

ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# On unless the product is served over plain http on loopback, as `make run` does.
HTTPS = env.bool("HTTPS", default=not DEBUG)
TRUSTED_PROXY = env.bool("TRUSTED_PROXY", default=False)

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.import_export",
    # Its pages are loaded with the addresses (evalsuite/urls.py): workers and most commands need neither.
    "django.contrib.admin.apps.SimpleAdminConfig",
    "rest_framework_simplejwt.token_blacklist",  # before ours, which takes its pages out of the admin
    "evalsuite.orgs",  # before Django's own accounts: its commands leave audit events
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_htmx",
    "django_filters",
    "django_prometheus",
    "import_export",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "evalsuite.apps.EvalsuiteConfig",
    "evalsuite.metrics",
    "evalsuite.audit",
    "evalsuite.quotas",
    "llm_routing",
    "playground",
    "experiments",
]

# A histogram for each view and method: of sixteen bounds each, the page takes twice as long to write.
PROMETHEUS_LATENCY_BUCKETS = (0.01, 0.05, 0.1, 0.3, 1, 3, 10, 60, float("inf"))

MIDDLEWARE = [
    "evalsuite.web.BrowserRulesMiddleware",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "evalsuite.web.RequestFactsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "evalsuite.web.ErrorPagesMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

ROOT_URLCONF = "evalsuite.urls"
ASGI_APPLICATION = "evalsuite.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["evalsuite.templatetags.addresses"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "evalsuite.orgs.console.console_context",
            ],
        },
    },
]

DATABASE_URL = env.str("DATABASE_URL", default=f"sqlite:///{DATA_DIR / 'evalsuite.sqlite3'}")
DATABASES = {"default": env.db_url_config(DATABASE_URL)}
DATABASES["default"]["ATOMIC_REQUESTS"] = False  # no transaction may be open over a call to a model
IS_SQLITE = DATABASES["default"]["ENGINE"].endswith("sqlite3")
if IS_SQLITE:
    DATABASES["default"]["ENGINE"] = "evalsuite.sqlite"
    # Django's defaults lose parallel writes to "database is locked".
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": (
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA cache_size=-20000;"
            # The commit that passes so many pages brings them home first: let it be one in 16 MB, not in 4.
            " PRAGMA wal_autocheckpoint=4000"
        ),
    }
else:
    postgres_options = DATABASES["default"].setdefault("OPTIONS", {})
    postgres_options.setdefault("options", "-c jit=off")  # to compile a query takes longer than to answer it
    pool_size = env.int("DATABASE_POOL_SIZE", default=0)
    if pool_size:  # for web processes, where every request has a thread of its own
        postgres_options["pool"] = {"min_size": 1, "max_size": pool_size}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_USER_MODEL = "orgs.User"
AUTHENTICATION_BACKENDS = ["evalsuite.orgs.backends.AccountBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "console:home"
LOGOUT_REDIRECT_URL = "login"

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
USE_I18N = False  # one language: to look for others costs a tenth of a page

STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(ROOT / "staticfiles")))
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": env.str(
            "STATICFILES_STORAGE",
            default="django.contrib.staticfiles.storage.StaticFilesStorage"
            if DEBUG
            else "whitenoise.storage.CompressedManifestStaticFilesStorage",
        )
    },
}
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_MANIFEST_STRICT = True

# Bodies. Django refuses a bigger one before any of our code reads it.
DATA_UPLOAD_MAX_MEMORY_SIZE = 16 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2_000
FILE_UPLOAD_HANDLERS = [
    "evalsuite.uploads.BoundedUpload",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]

SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^metrics$"]
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
SECURE_REFERRER_POLICY = "same-origin"
SESSION_ENGINE = "evalsuite.orgs.sessions"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "evalsuite.web.csrf_failure"
if TRUSTED_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "evalsuite.orgs.key_authentication.KeyAuthentication",
        "evalsuite.orgs.token_authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["evalsuite.permissions.ClosedByDefault"],
    "DEFAULT_PARSER_CLASSES": ["evalsuite.parsers.BoundedJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "evalsuite.api.exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SIMPLE_JWT = {
    "SIGNING_KEY": JWT_SIGNING_KEY,
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=7),
    "ROTATE_REFRESH_TOKENS": True,
    "BLACKLIST_AFTER_ROTATION": True,
    "CHECK_REVOKE_TOKEN": True,  # a changed password ends the tokens made before it
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Evalsuite API",
    "DESCRIPTION": "Choose prompts and models with evidence: playground, experiments, evaluation. "
    "No text may hold NUL characters or lone surrogates, and JSON is at most 64 levels deep.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "SWAGGER_UI_DIST": "SIDECAR",
    # No badge of a validator elsewhere: the page loads nothing from other servers.
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "persistAuthorization": False, "validatorUrl": None},
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "evalsuite.openapi.bodies_that_may_be_left_out",
        "evalsuite.openapi_links.link_operations",
    ],
    "ENUM_NAME_OVERRIDES": {  # where several fields of one name have different choices
        "RunState": "evalsuite.schema.RUN_STATES",
        "BatchState": "evalsuite.schema.BATCH_STATES",
        "ProviderKind": "evalsuite.schema.PROVIDER_KINDS",
        "EvaluatorKind": "evalsuite.schema.EVALUATOR_KINDS",
        "MemberRole": "evalsuite.schema.MEMBER_ROLES",
        "MessageRole": "evalsuite.schema.MESSAGE_ROLES",
    },
}

# Without a broker's address: an in-process broker, and a worker inside the serve process.
BROKER_URL = env.str("BROKER_URL", default="memory://")
EMBEDDED_BROKER = BROKER_URL.startswith("memory://")
CELERY_BROKER_URL = "memory://localhost" if EMBEDDED_BROKER else BROKER_URL
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_DB_REUSE_MAX = sys.maxsize  # see evalsuite/celery.py
CELERY_RESULT_BACKEND = None
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 30.0
CELERY_WORKER_ENABLE_SOFT_SHUTDOWN_ON_IDLE = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker outlasts its broker, however long that is away
CELERY_TASK_PUBLISH_RETRY = False  # a permit that is not published is handed out by the sweeper
CELERY_BROKER_TRANSPORT = "evalsuite.queue_in_memory:Transport" if EMBEDDED_BROKER else None
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, object] = (
    {}
    if EMBEDDED_BROKER
    else {"socket_timeout": 2, "socket_connect_timeout": 2, "retry_on_timeout": False, "max_retries": 0}
)
if prefix := env.str("BROKER_KEY_PREFIX", default=""):  # several installations on one Redis
    CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"] = prefix
# Slots are counted in Redis where there is one, and in the database otherwise.
REDIS_URL = env.str("REDIS_URL", default="" if not BROKER_URL.startswith("redis") else BROKER_URL)

OLLAMA_URL = env.str("OLLAMA_URL", default="http://127.0.0.1:11434")
EMBEDDED_URL = env.str("EMBEDDED_URL", default="")
# Private networks in which organisations may have providers of their own, such as 10.1.0.0/16.
PRIVATE_PROVIDER_NETWORKS = env.list("PRIVATE_PROVIDER_NETWORKS", default=[])

# The run engine; durations in seconds.
RUN_SYNC_CELLS = env.int("RUN_SYNC_CELLS", default=80)
RUN_SYNC_WAIT = env.float("RUN_SYNC_WAIT", default=60)
RUN_CELLS_MAX = env.int("RUN_CELLS_MAX", default=10_000)
WORK_SLICE = env.float("WORK_SLICE", default=5)
# Calls that one permit keeps in the air. Fewer with a broker, so that several processes share a batch.
WORK_CALLS = env.int("WORK_CALLS", default=64 if EMBEDDED_BROKER else 32)
CELL_LEASE = env.float("CELL_LEASE", default=30)
CELL_ATTEMPTS = env.int("CELL_ATTEMPTS", default=5)
SWEEP_EVERY = env.float("SWEEP_EVERY", default=2)
SLOT_WAIT = env.float("SLOT_WAIT", default=60)  # how long a playground request waits for a free slot
BREAKER_FAILURES = env.int("BREAKER_FAILURES", default=5)  # in a row; then an endpoint is left alone
MODEL_TURN = env.float("MODEL_TURN", default=60)  # an Ollama works for one model so long while others wait

# What is tried in the playground is kept for so long after its last message; 0: for good.
PLAYGROUND_RETENTION_DAYS = env.int("PLAYGROUND_RETENTION_DAYS", default=30)

# What an org may use where the admin says nothing else; empty: no limit.
LIMIT_REQUESTS_PER_MINUTE = env.int("LIMIT_REQUESTS_PER_MINUTE", default=None)
LIMIT_TOKENS_PER_DAY = env.int("LIMIT_TOKENS_PER_DAY", default=None)
LIMIT_TOKENS_PER_MONTH = env.int("LIMIT_TOKENS_PER_MONTH", default=None)
LIMIT_PARALLEL_CELLS = env.int("LIMIT_PARALLEL_CELLS", default=256)
LIMIT_PLAYGROUND_PER_MINUTE = env.int("LIMIT_PLAYGROUND_PER_MINUTE", default=60)  # of one user

# Traces are made where they have somewhere to go. The SDK reads the other OTEL_ variables by itself.
OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", default="")

# Who may read /metrics: the bearer of the token, and these networks; without either, this machine alone.
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
METRICS_NETWORKS = [ip_network(each) for each in env.list("METRICS_NETWORKS", default=[])]
# So many of the newest experiments, and of each one's newest variants, have labels of their own there.
METRICS_EXPERIMENTS = env.int("METRICS_EXPERIMENTS", default=200)
METRICS_VARIANTS = env.int("METRICS_VARIANTS", default=20)

UNFOLD = {
    "SITE_TITLE": "Evalsuite",
    "SITE_HEADER": "Evalsuite",
    "SITE_SUBHEADER": "Administration",
    "SITE_SYMBOL": "science",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": "evalsuite.admin_menu.favicon"},
    ],
    "SITE_URL": "/",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": True,
    "COLORS": "evalsuite.admin_menu.no_inline_colors",
    "STYLES": ["evalsuite.admin_menu.stylesheet"],
    "SCRIPTS": ["evalsuite.admin_menu.script"],
    "SIDEBAR": {"show_search": True, "navigation": "evalsuite.admin_menu.navigation"},
}

# One JSON object a line for machines that read logs, or a line of text for people.
LOG_FORMAT = env.str("LOG_FORMAT", default="line" if DEBUG else "json")
if LOG_FORMAT not in {"json", "line"}:
    raise ImproperlyConfigured(f"LOG_FORMAT is {LOG_FORMAT!r}; it may be json or line.")
# The words of exceptions may quote prompts, rows and keys.
LOG_EXCEPTION_TEXT = env.bool("LOG_EXCEPTION_TEXT", default=DEBUG)
# Loggers whose packages write by handlers of their own; through ours, each line is told once and alike.
_OURS_ALONE = (
    "django",
    "django.server",
    "uvicorn",
    "uvicorn.error",
    "celery",
    "py.warnings",
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        name: {"()": f"evalsuite.logs.{formatter}", "exception_text": LOG_EXCEPTION_TEXT}
        for name, formatter in (("json", "JsonFormatter"), ("line", "LineFormatter"))
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "loggers": {
        **{name: {"handlers": [], "propagate": True} for name in _OURS_ALONE},
        # A line for every permit says nothing: batches and cells are in the database.
        **{name: {"level": "WARNING"} for name in ("celery.worker.strategy", "celery.app.trace")},
        # What was refused has its line as a request; its own would quote what was asked for.
        "django.request": {"level": "ERROR"},
        "uvicorn.access": {"handlers": [], "propagate": False},
    },
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", default="INFO")},
}
