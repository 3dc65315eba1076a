"""What the database itself sees to: no event and no seal is changed or removed, each new event is pending."""

from __future__ import annotations

from typing import Any

APPEND_ONLY = ("audit_auditevent", "audit_auditseal")
REFUSAL = "the audit log is append-only"


def install(apps: Any, schema_editor: Any) -> None:
    """For migrations. SQLite drops the triggers of a table that it makes anew: install them again then."""
    remove(apps, schema_editor)
    for statement in _statements(schema_editor.connection.vendor):
        schema_editor.execute(statement)


def remove(apps: Any, schema_editor: Any) -> None:
    on_postgresql = schema_editor.connection.vendor == "postgresql"
    for table in APPEND_ONLY:
        for name in ("no_update", "no_delete", "pending"):
            of_table = f" ON {table}" if on_postgresql else ""
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {table}_{name}{of_table}")
    if on_postgresql:
        schema_editor.execute("DROP FUNCTION IF EXISTS audit_refuse()")
        schema_editor.execute("DROP FUNCTION IF EXISTS audit_pending()")


def _statements(vendor: str) -> list[str]:
    return _on_postgresql() if vendor == "postgresql" else _on_sqlite()


def _on_sqlite() -> list[str]:
    refusals = [
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END"
        for table in APPEND_ONLY
        for verb in ("UPDATE", "DELETE")
    ]
    return [
        *refusals,
        "CREATE TRIGGER audit_auditevent_pending AFTER INSERT ON audit_auditevent "
        "BEGIN INSERT INTO audit_pendingevent (event_id) VALUES (NEW.id); END",
    ]


def _on_postgresql() -> list[str]:
    functions = {
        "audit_refuse": f"RAISE EXCEPTION '{REFUSAL}' USING ERRCODE = 'restrict_violation';",
        "audit_pending": "INSERT INTO audit_pendingevent (event_id) VALUES (NEW.id); RETURN NULL;",
    }
    refusals = [
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION audit_refuse()"
        for table in APPEND_ONLY
        for verb in ("UPDATE", "DELETE")
    ]
    return [
        *(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$"
            for name, body in functions.items()
        ),
        *refusals,
        "CREATE TRIGGER audit_auditevent_pending AFTER INSERT ON audit_auditevent "
        "FOR EACH ROW EXECUTE FUNCTION audit_pending()",
    ]
