import pytest

from evalsuite.errors import InvalidBody
from experiments.services.prompting import fill


def filled(template, content="the input", **metadata):
    return fill(template, content=content, metadata=metadata)


def test_input_and_metadata_are_put_in():
    assert filled("A {{ input }}, {{metadata.lang}}!", lang="en") == "A the input, en!"


def test_inserted_values_are_never_expanded_again():
    assert filled("{{ input }}", content="{{ metadata.key }}", key="secret") == "{{ metadata.key }}"
    assert filled("{{ metadata.a }}", a="{{ input }}") == "{{ input }}"


@pytest.mark.parametrize(
    "text", ["{{ expected }}", "{{ input.__class__ }}", "{% if 1 %}", "{{input|upper}}", "{"]
)
def test_nothing_else_is_reachable(text):
    assert filled(text) == text


def test_values_that_are_no_text_are_put_in_as_json():
    assert filled("{{ metadata.n }} {{ metadata.l }}", n=3, l=["ä"]) == '3 ["ä"]'


def test_a_missing_value_is_an_error_that_names_it():
    with pytest.raises(InvalidBody) as error:
        filled("{{ metadata.lang }}")
    assert "metadata.lang" in str(error.value)
