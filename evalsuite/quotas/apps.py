from django.apps import AppConfig


class QuotasConfig(AppConfig):
    name = "evalsuite.quotas"
    label = "quotas"
