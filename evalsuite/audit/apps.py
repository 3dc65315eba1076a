from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "evalsuite.audit"
    label = "audit"
