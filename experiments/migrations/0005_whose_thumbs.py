"""Thumbs of before people's were kept apart: whose they are is in the audit log."""

from django.db import migrations
from django.db.models import Exists, OuterRef

from evalsuite.ids import new_id

AT_ONCE = 500


def give_thumbs_their_raters(apps, schema_editor):
    Run = apps.get_model("experiments", "ExperimentRun")
    Thumb = apps.get_model("experiments", "Thumb")
    rated = Run.objects.filter(thumbs_up__isnull=False).filter(~Exists(Thumb.objects.filter(run=OuterRef("pk"))))
    found = []
    for run, up in rated.order_by("pk").values_list("pk", "thumbs_up").iterator(AT_ONCE):
        rater, when = last_setter(apps, run, up)
        if rater is not None:
            found.append(Thumb(id=new_id(), run_id=run, rater_id=rater, up=up, created_at=when))
        if len(found) >= AT_ONCE:
            Thumb.objects.bulk_create(found)
            found = []
    Thumb.objects.bulk_create(found)


def last_setter(apps, run, up):
    """Who set the thumb that the run has, and when; nobody where their account is gone."""
    Event = apps.get_model("audit", "AuditEvent")
    User = apps.get_model("orgs", "User")
    events = Event.objects.filter(object_id=str(run), event="experiment.feedback.updated").order_by("-id")
    for actor, after, when in events.values_list("actor_id", "after", "created_at"):
        if (after or {}).get("thumbsUp") is up:
            return (actor if User.objects.filter(pk=actor).exists() else None), when
    return None, None


class Migration(migrations.Migration):
    dependencies = [
        ("experiments", "0004_thumbs_labels_baseline"),
        ("audit", "0002_initial"),
    ]

    operations = [
        migrations.AlterModelOptions(name="thumb", options={"ordering": ["-created_at", "-id"]}),
        migrations.RunPython(give_thumbs_their_raters, migrations.RunPython.noop),
    ]
