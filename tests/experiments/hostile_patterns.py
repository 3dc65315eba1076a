"""A hundred expressions that bring engines to their knees, each with a megabyte of its own."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from functools import cache

from evalsuite.errors import InvalidBody
from experiments.evaluators.base import Sample
from experiments.evaluators.regex import RegularExpression

MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Outcome:
    words: str  # "fits", "does not fit", "refused" or "no score"
    seconds: float  # of processor time: compiling and looking through the text


@dataclass(frozen=True, slots=True)
class Hostile:
    pattern: str
    kind: str  # of text

    @property
    def text(self) -> str:
        return texts()[self.kind]

    def run(self) -> Outcome:
        config = {"pattern": self.pattern}
        begun = time.thread_time()
        try:
            RegularExpression.validate(config)
        except InvalidBody:
            return Outcome("refused", time.thread_time() - begun)
        evaluator = RegularExpression(config)
        sample = Sample(output=self.text)
        begun = time.thread_time()  # a stored evaluator is compiled once for many answers
        value = evaluator.evaluate(sample).value
        took = time.thread_time() - begun
        return Outcome({1.0: "fits", 0.0: "does not fit", None: "no score"}[value], took)


@cache
def texts() -> dict[str, str]:
    draw = random.Random(4)

    def drawn(letters: str) -> str:
        return "".join(draw.choices(letters, k=MEGABYTE))

    return {
        "a": "a" * (MEGABYTE - 1) + "!",
        "x": "x" * MEGABYTE,
        "ab": "ab" * (MEGABYTE // 2 - 1) + "!!",
        "01": drawn("01"),
        "words": drawn("abcdefghijklmnopqrstuvwxyz      "),
        "digits": drawn("0123456789.,-"),
        "lines": drawn("ab\n\n"),
        "blanks": " " * MEGABYTE,
        "unicode": drawn("aéß語\u0301🙂 "),
        "html": "<a href=" * (MEGABYTE // 8),
        "quotes": '\\"' * (MEGABYTE // 2),
        "mail": "a@" * (MEGABYTE // 2),
    }


# What makes a backtracking engine try exponentially or quadratically many ways. By text, one a line.
BACKTRACKING = {
    "a": r"""
        (a+)+$
        (a*)*$
        (a|a)*$
        (a|aa)+$
        (a?){30}a{30}b
        ([a-z]+)*$
        (a+a+)+b
        (a*a*a*)*b
        ^(a+)+$
        ^(([a-z])+.)+[A-Z]([a-z])+$
        (.*a){12}b
        (.*)(.*)(.*)(.*)b
        (?:a?){100}b
        a*a*a*a*a*a*b
        ((a+)+)+$
        (((a*)*)*)*b
        (a{1,10}){1,10}b
        (a|b|ab)*c
        (aa|aaa)*b
        (?i)(A+)+$
        (\w+)*$
    """,
    "x": r"""
        (x+x+)+y
        (x+x+)+[^x]
        (?:x|xx|xxx)+y
        x*x*x*x*x*x*x*x*y
        (x?){50}y
        (xx*)*y
        ^(x+)*y$
    """,
    "ab": r"""
        (a|b|ab)*$
        (ab|a|b)+c
        ((ab)*)*c
        (a*b*)*c
        (?:(?:a|b)+)+c
        (.+b)+c
        ([ab]+[ab]+)+c
    """,
    "words": r"""
        ^(\w+\s?)*$
        (\w+\s*)+\d
        ([a-z]+ ?)+$
        (\S+\s+)*\S+\d$
        \b(\w+)\b.*\bzzzzzzzzz\b
        (.*?,){11}P
        (?:[a-z ]+)+[0-9]
        ([a-z]* ?)*!
        \s+$
        [a-z]+[a-z]+[a-z]+[a-z]+\d
        (.|\s)*!
        ^.*\d.*\d.*$
    """,
    "digits": r"""
        ^(\d+)+$
        (\d+,?)+x
        (\d+\.?)*x
        ^-?(\d+,?\d*)*$
        (\d{1,3}){1,9}x
        (-?\d+)+%
        (\d*\.\d*)*x
    """,
    "lines": r"""
        (?m)^(a|b)*c$
        (.*\n)*c
        (?s)(.*)*c
        (\n*)*c
        (?m)(^.*$)+c
        \n+$
        (a\n?|b\n?)*c
    """,
    "blanks": r"""
        \s+$!
        ^\s+|\s+$x
        (\s*)*x
        \s*\s*\s*\s*x
        ( +)+x
        (\s|\t| )*x
    """,
    "unicode": r"""
        (\p{L}+)*x!
        (\pL|\pM)*!
        (.+)+!
        [^a]*[^b]*[^c]*!
        (\p{So}|.)*!
    """,
    "html": r"""
        <a(.*?)*>
        <([a-z]+)(.*)*>
        (<a href=)*>
        <[^>]*(<[^>]*)*>
        (?i)<A\s+(HREF=)*[^<]*>
    """,
    "quotes": r"""
        "(\\.|[^"])*"x
        (\\\\|\\.)*x
        ("[^"]*"?)*x
        ([\\\"]+)+x
    """,
    "mail": r"""
        ^([a-zA-Z0-9])(([\-.]|[_]+)?([a-zA-Z0-9]+))*(@){1}[a-z0-9]+[.]{1}$
        (\w+@)*\.com
        (.+@.+)+x
        ([\w.]+@?)+\.$
    """,
}
# What is costly for RE2 itself: large programs, and automata with very many states.
LARGE = {
    "01": r"""
        [01]*1[01]{8}x
        [01]*1[01]{10}x
        [01]*1[01]{12}x
        [01]*1[01]{14}x
        [01]*1[01]{30}x
        [01]*1[01]{100}x
        [01]{12}1[01]*
        (0|1)*1(0|1){20}x
        (1[01]{5}){20}x
        (0[01]*){12}x
    """,
    "words": r"""
        .{500}x\d
        [a-q][^u-z]{13}\d
        ([a-z ]{1,5}q){10}\d
        a.{15}b.{15}c\d
        (e.{3}){50}\d
        (?i)(\w{1,50}\s){1,10}\d
        [a-z]{1000}
        (a{100}|b{100}|c{100})+\d
        ((a|b|c|d|e).{4}){20}\d
    """,
    "unicode": r"""
        \pL{50}!
        (\pL{5}\pM?){20}!
        [\pL\pN]{100}!
        \PL{200}!
        (?i)[à-ÿ]{100}!
    """,
}
PATTERNS = [
    Hostile(line.strip(), kind)
    for group in (BACKTRACKING, LARGE)
    for kind, lines in group.items()
    for line in lines.splitlines()
    if line.strip()
]
