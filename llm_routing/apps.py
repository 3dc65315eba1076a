from django.apps import AppConfig


class LlmRoutingConfig(AppConfig):
    name = "llm_routing"
    verbose_name = "model routing"

    def ready(self) -> None:
        from llm_routing import watch

        watch.register()
