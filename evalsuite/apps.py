from django.apps import AppConfig


class EvalsuiteConfig(AppConfig):
    """The ground's template tags and commands. It has no tables."""

    name = "evalsuite"

    def ready(self) -> None:
        # Binds every @shared_task to our Celery application, in whatever process this is.
        # The last declares system checks.
        from evalsuite import celery, memory, startup, tracing  # noqa: F401

        memory.give_back_freed()
        memory.loaded()
        tracing.begin()
