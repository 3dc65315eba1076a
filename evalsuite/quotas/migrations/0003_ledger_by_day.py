"""Every row of the ledger has its day. Apart from 0002: PostgreSQL alters no table whose rows just changed."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("quotas", "0002_limits")]

    operations = [
        migrations.RemoveIndex(model_name="usagerecord", name="quotas_usag_org_id_9f2a55_idx"),
        migrations.AlterField(
            "usagerecord", "day", models.DateField(help_text="The UTC day whose counters hold this call.")
        ),
        migrations.AddIndex(
            model_name="usagerecord", index=models.Index(fields=["org", "day"], name="quotas_usage_by_day")
        ),
    ]
