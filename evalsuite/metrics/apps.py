from django.apps import AppConfig


class MetricsConfig(AppConfig):
    name = "evalsuite.metrics"
    label = "metrics"

    def ready(self) -> None:
        from evalsuite import periodic
        from evalsuite.metrics import folding

        periodic.register("metrics.fold", folding.fold, every_s=folding.EVERY_S)
