from django.apps import AppConfig


class MetricsConfig(AppConfig):
    name = "evalsuite.metrics"
    label = "metrics"

    def ready(self) -> None:
        from prometheus_client import disable_created_metrics

        from evalsuite import periodic
        from evalsuite.metrics import folding

        disable_created_metrics()  # type: ignore[no-untyped-call]  # a fifth of the page; nobody asks for it
        periodic.register("metrics.fold", folding.fold, every_s=folding.EVERY_S)
