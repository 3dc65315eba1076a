from django.apps import AppConfig

HOUR_S = 3600


class PlaygroundConfig(AppConfig):
    name = "playground"

    def ready(self) -> None:
        from evalsuite import periodic
        from playground import retention

        periodic.register("playground.purge", retention.purge, every_s=HOUR_S)
