"""What each evaluator makes of an answer."""

from __future__ import annotations

import pytest

from evalsuite.errors import InvalidBody
from experiments.evaluators.base import Sample
from experiments.evaluators.registry import KINDS
from tests.experiments.hostile_patterns import MEGABYTE, PATTERNS, texts


def score(kind, output="", *, expected=None, config=None, **facts):
    config = config or {}
    KINDS[kind].validate(config)
    return KINDS[kind](config).evaluate(Sample(output=output, expected=expected, **facts))


def refused(kind, config):
    with pytest.raises(InvalidBody) as error:
        KINDS[kind].validate(config)
    return error.value.fields


class TestExactMatch:
    @pytest.mark.parametrize(
        ("output", "expected", "config", "value"),
        [
            ("Yes.", "yes", {}, 1),
            ("Yes.", "yes", {"ignorePunctuation": False}, 0),
            ("Yes", "yes", {"ignoreCase": False}, 0),
            (" a \n b ", "a b", {}, 1),
            ("a b", "ab", {"whitespace": "remove"}, 1),
            ("a  b", "a b", {"whitespace": "keep"}, 0),
            ("cafe\u0301", "café", {}, 1),
            ("cafe\u0301", "café", {"unicode": "none"}, 0),
            ("\uff21", "a", {}, 0),
            ("\uff21", "a", {"unicode": "NFKC"}, 1),
            ("cafe", "café", {}, 0),
            ("cafe", "café", {"ignoreAccents": True}, 1),
            ("the answer", "An answer", {}, 0),
            ("the answer", "An answer", {"ignoreArticles": True}, 1),
            ("STRASSE", "straße", {}, 1),
            ("", "", {}, 1),
        ],
    )
    def test_ignores_what_it_is_told_to(self, output, expected, config, value):
        assert score("exact_match", output, expected=expected, config=config).value == value


class TestContains:
    @pytest.mark.parametrize(
        ("mode", "texts", "value"),
        [
            ("all", ["red", "blue"], 1),
            ("all", ["red", "green"], 0),
            ("any", ["green", "Blue!"], 1),
            ("any", ["green"], 0),
            ("none", ["green"], 1),
            ("none", ["green", "red"], 0),
        ],
    )
    def test_looks_for_all_any_or_none(self, mode, texts, value):
        assert score("contains", "Red, and blue.", config={"mode": mode, "texts": texts}).value == value

    def test_says_what_was_not_found(self):
        assert score("contains", "red", config={"texts": ["red", "green"]}).note == "Not found: green"

    def test_without_texts_the_expected_answer_is_looked_for(self):
        assert score("contains", "It is Paris.", expected="paris").value == 1
        assert score("contains", "It is Paris.").value is None
        assert score("contains", "It is Paris.", expected="?!").value is None

    def test_a_text_of_which_nothing_is_left_is_refused(self):
        assert list(refused("contains", {"texts": ["yes", "?!"]})) == ["config.texts.1"]
        assert score("contains", "why?", config={"texts": ["?"], "ignorePunctuation": False}).value == 1


class TestRegularExpression:
    @pytest.mark.parametrize(
        ("output", "config", "value"),
        [
            ("It is 42.", {"pattern": r"\d+"}, 1),
            ("It is 42.", {"pattern": r"\d+", "match": "full"}, 0),
            ("42", {"pattern": r"\d+", "match": "full"}, 1),
            ("42", {"pattern": r"\d+", "negate": True}, 0),
            ("Yes", {"pattern": "yes"}, 0),
            ("Yes", {"pattern": "yes", "ignoreCase": True}, 1),
            ("a\nb", {"pattern": "^b$"}, 0),
            ("a\nb", {"pattern": "^b$", "multiline": True}, 1),
            ("a\nb", {"pattern": "a.b"}, 0),
            ("a\nb", {"pattern": "a.b", "dotAll": True}, 1),
            ("a\nb", {"pattern": "^a"}, 1),
            ("xa", {"pattern": "^a"}, 0),
            ("ab", {"pattern": "a|b", "match": "full"}, 0),
            ("größe", {"pattern": r"\p{L}{5}", "match": "full"}, 1),
            ("(a", {"pattern": r"\Q(a\E"}, 1),
            ("", {"pattern": "^$"}, 1),
        ],
    )
    def test_fits_where_it_is_told_to(self, output, config, value):
        assert score("regex", output, config=config).value == value

    @pytest.mark.parametrize(
        ("pattern", "reason"),
        [
            ("(", "missing )"),
            ("a)(?s:.*", "unexpected )"),
            ("[z-a]", "invalid character class range"),
            (r"(a)\1", "invalid escape sequence"),
            ("(?<=a)b", "invalid"),
            ("(?=a)b", "invalid"),
            ("a{1001}", "invalid repetition size"),
            (r"\Qnot ended", "no regular expression"),
            ("foo\\", "trailing \\"),
            (r"\pL{900}", "too large"),
            ("(" * 600 + ")" * 400, "missing )"),
        ],
    )
    def test_what_does_not_parse_is_refused_with_the_reason(self, pattern, reason):
        (reasons,) = refused("regex", {"pattern": pattern}).values()
        assert reason in reasons[0]

    def test_a_long_expression_is_refused(self):
        assert list(refused("regex", {"pattern": "a" * 1_001})) == ["config.pattern"]
        assert list(refused("regex", {})) == ["config.pattern"]

    @pytest.mark.parametrize("number", range(len(PATTERNS)), ids=lambda number: PATTERNS[number].pattern[:40])
    def test_a_hostile_expression_on_a_megabyte_is_refused_or_done_in_time(self, number):
        """Figures are for `python -m benchmarks.regex`; this bound holds on a busy machine too."""
        outcome = PATTERNS[number].run()
        assert outcome.seconds < 0.5
        assert outcome.words in ("fits", "does not fit", "refused", "no score")

    def test_most_hostile_expressions_do_get_their_score(self):
        outcomes = [one.run().words for one in PATTERNS if len(one.text) >= MEGABYTE]
        assert len(outcomes) == len(PATTERNS) >= 100
        assert outcomes.count("fits") + outcomes.count("does not fit") >= 80

    def test_an_answer_that_takes_too_long_has_no_score(self):
        text = texts()["01"]
        verdict = score("regex", text, config={"pattern": "[01]*1[01]{100}x"})
        assert verdict.value is None
        assert "takes too long" in verdict.note
        assert (
            score("regex", "0" * 200 + "1" + "0" * 100 + "x", config={"pattern": "[01]*1[01]{100}x"}).value
            == 1
        )


class TestNumericCloseness:
    @pytest.mark.parametrize(
        ("output", "expected", "config", "value"),
        [
            ("The answer is 42.", "42", {}, 1),
            ("42", "42.0", {}, 1),
            ("between 3 and 5", "5", {}, 1),
            ("between 3 and 5", "3", {"number": "first"}, 1),
            ("3 5", "3", {"number": "whole"}, 0),
            (" 3.0 ", "3", {"number": "whole"}, 1),
            ("-3", "-3", {"number": "whole"}, 1),
            ("about 10.4", "10", {"absolute": 0.5}, 1),
            ("about 10.6", "10", {"absolute": 0.5}, 0),
            ("101", "100", {"relative": 0.01}, 1),
            ("102", "100", {"relative": 0.01}, 0),
            ("$1,234.50", "1234.5", {}, 1),
            ("1,234,567", "1234567", {}, 1),
            ("1,23", "23", {}, 1),
            ("12,345, and no more", "12345", {}, 1),
            ("\u22125 degrees", "-5", {}, 1),
            ("3-5", "5", {}, 1),
            ("-.5", "-0.5", {}, 1),
            ("6.02e23", "602000000000000000000000", {"relative": 1e-9}, 1),
            ("version 1.2.3", "3", {}, 1),
            ("none", "42", {}, 0),
            ("9" * 500, "42", {}, 0),
            ("1e999", "42", {}, 0),
            ("7", None, {"expected": 7}, 1),
            ("7", "it is 7 apples", {}, 1),
        ],
    )
    def test_takes_a_number_and_compares_it(self, output, expected, config, value):
        assert score("numeric", output, expected=expected, config=config).value == value

    def test_no_number_to_expect_is_a_missing_score(self):
        assert score("numeric", "7", expected="seven").value is None

    @pytest.mark.parametrize(
        "config", [{"absolute": -1}, {"relative": -0.1}, {"expected": 10**400}, {"number": "any"}]
    )
    def test_settings_that_mean_nothing_are_refused(self, config):
        assert list(refused("numeric", config)) == [f"config.{next(iter(config))}"]


class TestJsonValid:
    @pytest.mark.parametrize(
        ("output", "config", "value"),
        [
            ('{"a": [1, null, "x"]}', {}, 1),
            (" 7 ", {}, 1),
            ("{'a': 1}", {}, 0),
            ("", {}, 0),
            ('{"a": NaN}', {}, 0),
            ("[1,]", {}, 0),
            ('{"a": 1} Done.', {}, 0),
            ('```json\n{"a": 1}\n```', {}, 0),
            ('```json\n{"a": 1}\n```\n', {"allowFence": True}, 1),
            ("```\n[1]\n```", {"allowFence": True}, 1),
            ("Here: ```[1]```", {"allowFence": True}, 0),
            ("[1]", {"type": "object"}, 0),
            ("{}", {"type": "object"}, 1),
            ("true", {"type": "number"}, 0),
            ("9" * 5_000, {}, None),
            ("[" * 100_000, {}, None),
        ],
    )
    def test_the_whole_answer_must_be_json(self, output, config, value):
        assert score("json_valid", output, config=config).value == value

    def test_says_where_it_is_none(self):
        assert score("json_valid", '{"a" 1}').note == "No JSON: Expecting ':' delimiter, at line 1, column 6."


class TestTokenF1:
    @pytest.mark.parametrize(
        ("output", "expected", "value"),
        [
            ("the quick brown fox", "the quick brown fox", 1),
            ("Fox brown quick the!", "the quick brown fox", 1),
            ("a b c d", "a b x y", 0.5),
            ("a a a", "a", 0.5),
            ("a", "a b c", 0.5),
            ("x", "a", 0),
            ("", "a", 0),
            ("", "", 1),
            ("a", "", 0),
        ],
    )
    def test_is_the_share_of_common_words(self, output, expected, value):
        assert score("token_f1", output, expected=expected).value == pytest.approx(value)


class TestChrF:
    @pytest.mark.parametrize(
        ("output", "expected", "value"),
        [
            ("The cat sat on the mat.", "The cat sat on the mat.", 1),
            ("xyz", "abc", 0),
            ("", "abc", 0),
            # By hand, letters and pairs alone, beta 2: precision 1, recall (2/4 + 1/3) / 2.
            ("ab", "abcd", 5 * (5 / 12) / (4 + 5 / 12)),
        ],
    )
    def test_is_the_share_of_common_runs_of_letters(self, output, expected, value):
        assert score("chrf", output, expected=expected).value == pytest.approx(value, abs=1e-12)

    def test_texts_that_are_too_long_are_not_compared(self):
        verdict = score("chrf", "a" * 20_001, expected="a")
        assert verdict.value is None
        assert "20,000" in verdict.note


class TestLimits:
    @pytest.mark.parametrize(
        ("output", "config", "value"),
        [
            ("one two", {"maxWords": 2}, 1),
            ("one two three", {"maxWords": 2}, 0),
            ("one", {"minWords": 2}, 0),
            ("abc", {"maxCharacters": 3, "minCharacters": 3}, 1),
            ("abcd", {"maxCharacters": 3}, 0),
            ("", {"minCharacters": 1}, 0),
            ("", {"maxCharacters": 0}, 1),
        ],
    )
    def test_of_length(self, output, config, value):
        assert score("length", output, config=config).value == value

    def test_it_says_by_how_much(self):
        assert (
            score("length", "abcd", config={"maxCharacters": 3}).note
            == "4 characters, at most 3 are allowed."
        )

    @pytest.mark.parametrize(
        ("kind", "names"), [("length", ["minWords", "maxWords"]), ("tokens", ["minInput", "maxInput"])]
    )
    def test_of_nothing_or_that_contradict_each_other_are_refused(self, kind, names):
        assert "at least one limit" in str(refused(kind, {}))
        assert list(refused(kind, {names[0]: 5, names[1]: 4})) == [f"config.{names[1]}"]

    @pytest.mark.parametrize(
        ("facts", "config", "value"),
        [
            ({"latency_ms": 100.0}, {"maxMs": 100}, 1),
            ({"latency_ms": 101.0}, {"maxMs": 100}, 0),
            ({"latency_ms": 500.0, "first_token_ms": 20.0}, {"maxMs": 100, "of": "firstToken"}, 1),
            ({"latency_ms": 1.0, "cold_start": True}, {"maxMs": 100}, None),
            ({}, {"maxMs": 100}, None),
        ],
    )
    def test_of_latency(self, facts, config, value):
        assert score("latency", config=config, **facts).value == value

    @pytest.mark.parametrize(
        ("facts", "config", "value"),
        [
            ({"output_tokens": 5}, {"maxOutput": 5}, 1),
            ({"output_tokens": 6}, {"maxOutput": 5}, 0),
            ({"input_tokens": 9, "output_tokens": 1}, {"minInput": 1, "maxOutput": 5}, 1),
            ({"input_tokens": 9}, {"maxInput": 8}, 0),
            ({"input_tokens": 9}, {"maxOutput": 8}, None),
        ],
    )
    def test_of_tokens(self, facts, config, value):
        assert score("tokens", config=config, **facts).value == value
