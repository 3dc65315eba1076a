from django.apps import AppConfig


class OrgsConfig(AppConfig):
    name = "evalsuite.orgs"
    label = "orgs"
    verbose_name = "organisations"
