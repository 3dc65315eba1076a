"""Limits of orgs; counters by the month instead of by the day; reservations in the ledger."""

import django.core.validators
import django.db.models.deletion
import django.utils.timezone
import evalsuite.ids
from django.db import migrations, models
from django.db.models import Count, F, Sum
from django.db.models.functions import Coalesce, TruncDate, TruncMonth


def _limit(help_text, least=0, most=10**15):
    return models.PositiveBigIntegerField(
        null=True,
        blank=True,
        help_text=f"{help_text} Empty: the installation's default.",
        validators=[
            django.core.validators.MinValueValidator(least),
            django.core.validators.MaxValueValidator(most),
        ],
    )


def fill(apps, schema_editor):
    """Days into the ledger's rows, and the counters anew from the ledger."""
    record, counter = apps.get_model("quotas", "UsageRecord"), apps.get_model("quotas", "UsageCounter")
    record.objects.update(day=TruncDate("created_at"))
    tokens = Sum(Coalesce(F("input_tokens"), 0) + Coalesce(F("output_tokens"), 0))
    of_day = {
        (row["org"], row["day"]): row["tokens"]
        for row in record.objects.order_by().values("org", "day").annotate(tokens=tokens)
    }
    latest = {}
    for org, day in sorted(of_day, key=lambda key: key[1]):
        latest[org, day.replace(day=1)] = day
    months = record.objects.order_by().values("org", month=TruncMonth("day"))
    counter.objects.bulk_create(
        counter(
            org_id=row["org"],
            month=row["month"],
            calls=row["calls"],
            tokens=row["tokens"],
            day=latest[row["org"], row["month"]],
            day_tokens=of_day[row["org"], latest[row["org"], row["month"]]],
        )
        for row in months.annotate(calls=Count("id"), tokens=tokens)
    )


class Migration(migrations.Migration):

    dependencies = [
        ("orgs", "0001_initial"),
        ("quotas", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="OrgLimits",
            fields=[
                ("id", models.UUIDField(default=evalsuite.ids.new_id, editable=False, primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ("requests_per_minute", _limit("Calls to models in one minute.")),
                ("tokens_per_day", _limit("Tokens, in and out, in one UTC day.")),
                ("tokens_per_month", _limit("Tokens, in and out, in one UTC month.")),
                ("parallel_cells", _limit("Cells in the air at once, over all batches.", 1, 100_000)),
                ("cells_per_batch", _limit("Cells of one run.", 1, 1_000_000)),
                ("playground_per_minute", _limit("Playground requests of one user in one minute.")),
                ("org", models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name="limits", to="orgs.org")),
            ],
            options={"verbose_name": "limits", "verbose_name_plural": "limits"},
        ),
        migrations.CreateModel(
            name="PlaygroundMinute",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("user_id", models.UUIDField()),
                ("minute", models.PositiveBigIntegerField(default=0, help_text="Minutes since 1970.")),
                ("requests", models.PositiveBigIntegerField(default=0)),
                ("org", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="orgs.org")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("org", "user_id"), name="one_minute_per_org_and_user")],
            },
        ),
        migrations.AddField("usagerecord", "day", models.DateField(null=True)),
        migrations.AddField(
            "usagerecord",
            "state",
            models.CharField(
                choices=[("reserved", "Reserved"), ("settled", "Settled")], default="settled", max_length=8
            ),
        ),
        migrations.AddField("usagerecord", "user_id", models.UUIDField(null=True)),
        migrations.AddField("usagerecord", "experiment_id", models.UUIDField(null=True)),
        migrations.AddField(
            "usagerecord",
            "reserved_tokens",
            models.PositiveIntegerField(
                null=True,
                help_text="Tokens held for the call before it was made; empty where no limit asked for it.",
            ),
        ),
        migrations.DeleteModel("UsageCounter"),
        migrations.CreateModel(
            name="UsageCounter",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("month", models.DateField(help_text="The first day of the month.")),
                ("calls", models.PositiveBigIntegerField(default=0)),
                ("tokens", models.PositiveBigIntegerField(default=0)),
                ("reserved_calls", models.PositiveBigIntegerField(default=0)),
                ("reserved_tokens", models.PositiveBigIntegerField(default=0)),
                ("day", models.DateField()),
                ("day_tokens", models.PositiveBigIntegerField(default=0)),
                ("day_reserved_tokens", models.PositiveBigIntegerField(default=0)),
                ("minute", models.PositiveBigIntegerField(default=0, help_text="Minutes since 1970.")),
                (
                    "minute_requests",
                    models.PositiveBigIntegerField(
                        default=0,
                        help_text="Calls granted in that minute under a limit; one given up later was made as well.",
                    ),
                ),
                ("org", models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name="+", to="orgs.org")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("org", "month"), name="one_counter_per_org_and_month")],
            },
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
    ]
