from django.apps import AppConfig


class QuotasConfig(AppConfig):
    name = "evalsuite.quotas"
    label = "quotas"

    def ready(self) -> None:
        from evalsuite.quotas import watch

        watch.register()
