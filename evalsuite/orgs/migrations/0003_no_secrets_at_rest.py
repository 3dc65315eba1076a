"""Tokens and session keys were kept as they are: the tokens go, and whoever was signed in does so again."""

from django.db import migrations


def forget(apps, schema_editor):
    apps.get_model("token_blacklist", "OutstandingToken").objects.update(token="")
    apps.get_model("sessions", "Session").objects.all().delete()


class Migration(migrations.Migration):
    dependencies = [
        ("orgs", "0002_api_keys"),
        ("sessions", "0001_initial"),
        ("token_blacklist", "0013_alter_blacklistedtoken_options_and_more"),
    ]

    operations = [migrations.RunPython(forget, migrations.RunPython.noop)]
