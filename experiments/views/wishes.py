"""The filters of the results, as the query string has them. A bad value is named and left out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms
from django.http import QueryDict

from experiments.models import ExperimentRun, ExperimentVariant
from experiments.services.figures import Measure
from experiments.services.grid import Sort, Thumbs, Wish

ANY = ("", "Any")


class WishForm(forms.Form):
    def __init__(
        self, query: QueryDict, *, measures: Sequence[Measure], variants: Sequence[ExperimentVariant]
    ) -> None:
        super().__init__(query)
        self.measures = {measure.key: measure for measure in measures}
        self.variants = {str(variant.pk): variant for variant in variants}
        states = [(value, label) for value, label in ExperimentRun.State.choices]
        names = [(pk, variant.name) for pk, variant in self.variants.items()]
        self.fields = {
            "state": _choice([ANY, *states]),
            "thumb": _choice([ANY, *Thumbs.choices]),
            "metric": _choice([("", "Choose"), *((one.key, one.name) for one in measures)]),
            "from": forms.FloatField(required=False),
            "to": forms.FloatField(required=False),
            "a": _choice(names),
            "b": _choice(names),
            "differ": forms.BooleanField(required=False),
            "sort": _choice(Sort.choices),
        }

    def clean(self) -> dict[str, Any]:
        values = self.cleaned_data
        low, high = values.get("from"), values.get("to")
        if low is not None and high is not None and low > high:
            self.add_error("to", f"The range ends at {high:g}, before it begins at {low:g}.")
        elif (low is not None or high is not None) and not values.get("metric"):
            self.add_error("metric", "Choose what the range is of.")
        return values

    @property
    def problems(self) -> list[str]:
        return [f"{name.capitalize()}: {' '.join(map(str, why))}" for name, why in self.errors.items()]

    def wish(self) -> Wish:
        """What is asked for, with defaults: the first two variants, the first metric."""
        self.full_clean()
        values = self.cleaned_data
        a, b = self._pair(values)
        measure = self.measures.get(values.get("metric", ""))
        return Wish(
            state=values.get("state", ""),
            thumb=values.get("thumb", ""),
            measure=measure,
            low=values.get("from"),
            high=values.get("to"),
            a=a,
            b=b,
            differ=bool(values.get("differ") and a and b),
            sort=Sort(values.get("sort") or Sort.INPUT),
            order_by=measure or next(iter(self.measures.values()), None),
        )

    def _pair(self, values: dict[str, Any]) -> tuple[ExperimentVariant | None, ExperimentVariant | None]:
        variants = list(self.variants.values())
        a = self.variants.get(values.get("a", "")) or next(iter(variants), None)
        b = self.variants.get(values.get("b", "")) or next((one for one in variants if one != a), None)
        return a, b


def _choice(choices: Sequence[tuple[Any, Any]]) -> forms.ChoiceField:
    return forms.ChoiceField(choices=choices, required=False)
