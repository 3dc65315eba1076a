from django.apps import AppConfig


class AuditConfig(AppConfig):
    name = "evalsuite.audit"
    label = "audit"

    def ready(self) -> None:
        from evalsuite import periodic
        from evalsuite.audit import sealing

        periodic.register("audit.seal", sealing.seal_in_turn, every_s=sealing.EVERY_S)
