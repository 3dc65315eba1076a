import pytest, schemathesis
from hypothesis import settings, HealthCheck, Phase
from drf_spectacular.generators import SchemaGenerator
from django.core.wsgi import get_wsgi_application
from rest_framework_simplejwt.tokens import RefreshToken
from tests import factories
from tests.experiments.test_access_api import rows_of

@pytest.mark.django_db(transaction=True)
def test_fuzz(transactional_db, org, alice, settings):
    from hypothesis import settings as hs, given
    settings.RUN_SYNC_WAIT = 0.02
    factories.set_default_model(org, factories.make_model())
    ids = rows_of(org)
    doc = SchemaGenerator(urlconf="evalsuite.urls").get_schema(public=True)
    schema = schemathesis.openapi.from_dict(doc)
    schema.app = get_wsgi_application()
    token = str(RefreshToken.for_user(alice).access_token)
    problems = {}
    n = 0
    for result in schema.get_all_operations():
        op = result.ok()
        if "/experiments" not in op.path and "/metrics" not in op.path: continue
        if op.path.endswith("/events") or op.method.upper() == "DELETE": continue
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            try: st = op.as_strategy(generation_mode=mode)
            except Exception as e: print(op.label, e); continue
            @given(case=st)
            @hs(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate])
            def check(case):
                nonlocal n; n += 1
                params = dict(case.path_parameters or {})
                for k in list(params):
                    w = k.removesuffix("_id")
                    params[k] = str(org.pk) if w == "org" else str(ids.get(w, params[k]))
                case.path_parameters = params
                try:
                    case.call_and_validate(headers={"Authorization": f"Bearer {token}"})
                except BaseException as e:
                    if isinstance(e, KeyboardInterrupt): raise
                    subs = getattr(e, "exceptions", [e])
                    for s in subs:
                        key = (op.label, type(s).__name__)
                        problems.setdefault(key, (str(s)[:500], str(e)[-900:]))
            try: check()
            except BaseException as e: problems.setdefault((op.label, "GEN "+type(e).__name__), (str(e)[:300],""))
    print("calls", n)
    for k, v in problems.items():
        print("=====", k)
        for x in v: print("  --", x)
