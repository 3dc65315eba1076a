import uuid

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Sum

NOBODY = uuid.UUID(int=0)


def part(apps, schema_editor):
    """Sums by model, user and experiment become sums by model and user, and sums by experiment."""
    usage_sum = apps.get_model("quotas", "UsageSum")
    experiment_usage = apps.get_model("quotas", "ExperimentUsage")
    of_experiments = _folded(usage_sum, "experiment_id")
    of_users = _folded(usage_sum, "model_provider", "model_name", "user_id")
    experiment_usage.objects.bulk_create((experiment_usage(**row) for row in of_experiments), batch_size=1_000)
    usage_sum.objects.all().delete()
    usage_sum.objects.bulk_create((usage_sum(**row) for row in of_users), batch_size=1_000)
    if schema_editor.connection.vendor == "postgresql":
        # The foreign keys are checked now: a table with checks still to come cannot lose a column.
        schema_editor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        schema_editor.execute("SET CONSTRAINTS ALL DEFERRED")


def _folded(model, *keys):
    names = ("calls", "input_tokens", "output_tokens")
    rows = model.objects.order_by().values("org_id", "day", *keys).annotate(**{f"{name}_": Sum(name) for name in names})
    return [{name.rstrip("_"): value for name, value in row.items()} for row in rows]


class Migration(migrations.Migration):
    dependencies = [
        ("orgs", "0003_no_secrets_at_rest"),
        ("quotas", "0006_usage_sums"),
    ]

    operations = [
        migrations.CreateModel(
            name="ExperimentUsage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("day", models.DateField(help_text="As in the ledger.")),
                ("calls", models.PositiveBigIntegerField(default=0)),
                ("input_tokens", models.PositiveBigIntegerField(default=0)),
                ("output_tokens", models.PositiveBigIntegerField(default=0)),
                ("experiment_id", models.UUIDField(default=NOBODY)),
                (
                    "org",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="orgs.org",
                    ),
                ),
            ],
        ),
        migrations.RunPython(part, migrations.RunPython.noop),
        migrations.RemoveConstraint(model_name="usagesum", name="one_usage_sum_each"),
        migrations.RemoveField(model_name="usagesum", name="experiment_id"),
        migrations.AddConstraint(
            model_name="usagesum",
            constraint=models.UniqueConstraint(
                fields=["org", "day", "model_provider", "model_name", "user_id"], name="one_usage_sum_each"
            ),
        ),
        migrations.AddConstraint(
            model_name="experimentusage",
            constraint=models.UniqueConstraint(
                fields=["org", "day", "experiment_id"], name="one_experiment_usage_each"
            ),
        ),
    ]
