from django.apps import AppConfig


class ExperimentsConfig(AppConfig):
    name = "experiments"

    def ready(self) -> None:
        from evalsuite import health
        from experiments import usage, watch
        from experiments.services import readiness

        usage.register()
        watch.register()
        health.register("workers", readiness.standstill)
