# SPDX-License-Identifier: Apache-2.0
"""Chat templates that leave the renderer, hide from their reader, or exhaust a parser.

CVE-2024-34359 (llama-cpp-python) and CVE-2026-5760 (SGLang) rendered the template of a
GGUF file without a sandbox, so that it ran any code.  CVE-2016-10745 and CVE-2024-56326
left Jinja's sandbox by formats that were told at run time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

import made_gguf
from artifact_world.weights import lay_out, matrix, weights
from pedigree import refs
from pedigree.evidence import Finding, Severity
from pedigree.examine import ExamineSettings, examine
from pedigree.examine.safety.template_files import FILES_MAX, TEMPLATES_MAX
from pedigree.examine.safety.template_reach import SIGHTS_MAX
from pedigree.examine.safety.templates import look_at
from pedigree.sources import SourceSettings

NOW = datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)

RUNS_A_COMMAND = (
    "{% for c in ().__class__.__base__.__subclasses__() %}"
    "{% if 'warning' in c.__name__ %}"
    "{{ c()._module.__builtins__['__import__']('os').popen('id').read() }}"
    "{% endif %}{% endfor %}"
)
ESCAPES = {
    "CVE-2024-34359 through the classes of a tuple": RUNS_A_COMMAND,
    "CVE-2026-5760 through a global function": (
        "The answer is yes.{{ lipsum.__globals__['os'].system('id') }}"
    ),
    "CVE-2016-10745 by a format": "{{ '{0.__class__}'.format(messages) }}",
    "CVE-2024-56326 by a format that is a filter's argument": (
        "{{ ['{0.__init__}'.format]|map('join') }}"
    ),
    "CVE-2024-56326 by a format that is kept": (
        "{% set f = content.format %}{{ f(messages) }}"
    ),
    "CVE-2024-56326 by a format that is kept as an item": (
        "{% set f = content['format_map'] %}{{ f(messages) }}"
    ),
    "CVE-2025-27516 the filter attr reaches format": (
        "{{ (content|attr('format'))(messages) }}"
    ),
    "CVE-2025-27516 the filter attr within map": (
        "{% set f = [content]|map('attr', 'format')|first %}{{ f(messages) }}"
    ),
    "attr": "{{ 'x'|attr('__cl' ~ 'ass__') }}",
    "format_map": "{{ '{a.b}'.format_map(messages) }}",
    "item in place of an attribute": "{{ messages['__class__'] }}",
    "item with escapes": r"{{ messages['\x5f\x5fclass\x5f\x5f'] }}",
    "item that is joined": "{{ messages['__cla' ~ 'ss__'] }}",
    "item that is added": "{{ messages['_' + '_class_' + '_'] }}",
    "item that is reversed": "{{ messages['ssalc'|reverse] }}",
    "item that is sliced": "{{ messages['__ssalc__'[::-1]] }}",
    "item of a name kept aside": "{% set k = '__class__' %}{{ messages[k] }}",
    "item of a name that is put together": (
        "{% set k = '__cla' ~ 'ss__' %}{{ messages[k] }}"
    ),
    "item of a name in three pieces": "{% set k = '_' + '_init' + '__' %}{{ x[k] }}",
    "item by a format": "{{ messages['%sclass%s'|format('__', '__')] }}",
    "item by a list": "{{ messages[['__', 'class', '__']|join] }}",
    "item by underscores in number": "{{ messages[('_'*2) ~ 'class' ~ ('_'*2)] }}",
    "attr by a name of run time": "{{ messages|attr(role) }}",
    "attr within map": "{{ [messages]|map('attr', '__class__')|list }}",
    "attribute of map": "{{ [messages]|map(attribute='__class__.__mro__')|list }}",
    "attribute of sort": "{{ [messages]|sort(attribute='__class__') }}",
    "attribute of selectattr": "{{ [messages]|selectattr('__class__') }}",
    "frame by selectattr": "{{ [messages]|selectattr('gi_frame')|list }}",
    "frame by sort": "{{ [messages]|sort(attribute='gi_frame') }}",
    "frame of a generator": "{{ messages.gi_frame.f_back }}",
    "order of classes": "{{ messages.mro() }}",
    "self": "{{ self._TemplateReference__context.cycler.__init__.__globals__ }}",
    "cycler": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "joiner": "{{ joiner.__init__.__globals__ }}",
    "namespace": "{{ namespace.__init__.__globals__ }}",
    "a name of its own": "{{ __import__('os') }}",
    "the filter of a block": "{% filter attr('__class__') %}x{% endfilter %}",
    "in a branch that is never taken": "{% if false %}{{ x.__class__ }}{% endif %}",
    "in a macro": "{% macro m(x) %}{{ x.__class__ }}{% endmacro %}{{ m(1) }}",
    "in an argument": "{{ raise_exception(x.__class__) }}",
    "in a set": "{% set y = x.__class__ %}",
    "under a name of its own": "{% set lipsum = 1 %}{{ lipsum.__globals__ }}",
}
REACHES = {
    "include": "{% include 'other' %}",
    "import": "{% import 'other' as o %}",
    "from": "{% from 'other' import o %}",
    "extends": "{% extends 'other' %}",
    "self": "{{ self.block() }}",
    "lipsum": "{{ lipsum(5) }}",
    "function": "{{ fetch('x') }}",
    "method": "{{ messages.run('x') }}",
    "called item": "{{ messages['run']() }}",
    "called value": "{% set f = messages.run %}{{ f() }}",
    "called loop variable": "{% for f in [content.format] %}{{ f(1) }}{% endfor %}",
    "called parameter": "{% macro m(f) %}{{ f(1) }}{% endmacro %}{{ m(x.format) }}",
    "cycler without a call": "{% set c = cycler %}",
    "name": "{{ os }}",
    "unknown filter": "{{ messages|shell }}",
    "attr": "{{ messages|attr('content') }}",
    "format of run time": "{{ fmt|format(1) }}",
    "format method": "{{ '{}'.format(1) }}",
    "percent": "{{ '%s' % messages }}",
    "name put together": "{{ messages['con' ~ 'tent'] }}",
    "piece of an inner name": "{% set a = '__cla' %}",
    "private attribute": "{{ messages._secret }}",
    "huge range": "{% for i in range(999999999) %}x{% endfor %}",
    "huge text": "{{ 'x' * 999999999 }}",
    "text repeated by run time": "{{ 'x' * count }}",
    "list repeated": "{{ [0] * 100000000 }}",
    "power": "{{ 9 ** 999999 }}",
    "power of run time": "{{ 9 ** n }}",
    "padding": "{{ 'x'|center(999999999) }}",
    "loops in loops": (
        "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}"
    ),
}


def _reasons(text: str) -> set[tuple[str, str]]:
    return {(s.reason, s.severity) for s in look_at(text, "chat_template.jinja")}


@pytest.mark.parametrize("text", ESCAPES.values(), ids=ESCAPES.keys())
def test_a_way_out_of_the_sandbox_is_an_error(text: str) -> None:
    assert ("TemplateEscape", "Error") in _reasons(text)


@pytest.mark.parametrize("text", REACHES.values(), ids=REACHES.keys())
def test_an_unusual_reach_is_a_warning(text: str) -> None:
    assert _reasons(text) == {("TemplateReach", "Warning")}


def _examined(folder: Path, files: Mapping[str, bytes]) -> dict[str, Finding]:
    lay_out(folder, files)
    settings = ExamineSettings(sources=SourceSettings())
    found = examine(refs.parse(f"file://{folder}"), settings=settings, now=NOW)
    return {finding.reason: finding for finding in found.evidence.findings}


def _gguf(**keys: str) -> bytes:
    return made_gguf.file_bytes(
        {"token_embd.weight": matrix(8, 4)}, keys={**made_gguf.llama_keys(), **keys}
    )


TEMPLATE = json.dumps({"chat_template": RUNS_A_COMMAND}).encode()
NAMED = json.dumps(
    {"chat_template": [{"name": "rag", "template": RUNS_A_COMMAND}]}
).encode()
PLACES = {
    "tokenizer_config.json": TEMPLATE,
    "tokenizer/tokenizer_config.json": TEMPLATE,
    "chat_template.json": TEMPLATE,
    "processor_config.json": TEMPLATE,
    "chat_template.jinja": RUNS_A_COMMAND.encode(),
    "additional_chat_templates/rag.jinja": RUNS_A_COMMAND.encode(),
}


@pytest.mark.parametrize("path", PLACES)
def test_a_template_is_found_wherever_loaders_look_for_it(
    tmp_path: Path, path: str
) -> None:
    files = {"model.safetensors": weights({"a": matrix()}), path: PLACES[path]}
    finding = _examined(tmp_path, files)["TemplateEscape"]
    assert (finding.path, finding.severity) == (path, Severity.ERROR)
    assert "line 1" in finding.message
    assert "__class__" in finding.message


def test_one_template_of_many_is_found(tmp_path: Path) -> None:
    files = {"model.safetensors": weights({"a": matrix()})}
    found = _examined(tmp_path, {**files, "tokenizer_config.json": NAMED})
    assert found["TemplateEscape"].path == "tokenizer_config.json"


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("tokenizer.chat_template", id="CVE-2024-34359 CVE-2026-5760"),
        pytest.param("tokenizer.chat_template.tool_use", id="variant"),
    ],
)
def test_a_template_within_gguf_is_found(tmp_path: Path, key: str) -> None:
    found = _examined(tmp_path, {"m.gguf": _gguf(**{key: RUNS_A_COMMAND})})
    assert found["TemplateEscape"].path == "m.gguf"


@pytest.mark.parametrize(
    ("padding", "reason"), [(70_000, "TemplateEscape"), (2_000_000, "TemplateUnread")]
)
def test_a_long_template_within_gguf_is_no_hiding_place(
    tmp_path: Path, padding: int, reason: str
) -> None:
    long = "x" * padding + RUNS_A_COMMAND
    found = _examined(tmp_path, {"m.gguf": _gguf(**{"tokenizer.chat_template": long})})
    assert found[reason].severity is Severity.ERROR


def test_many_long_templates_within_gguf_are_refused(tmp_path: Path) -> None:
    keys = {f"tokenizer.chat_template.{n}": "x" * 70_000 for n in range(5)}
    found = _examined(tmp_path, {"m.gguf": _gguf(**keys)})
    assert found["LimitExceeded"].severity is Severity.ERROR


DEEP = {
    "brackets": ("{{ " + "(" * 5_000 + "x" + ")" * 5_000 + " }}", "brackets or"),
    "lists": ("{{ " + "[" * 5_000 + "]" * 5_000 + " }}", "brackets or"),
    "blocks": ("{% if x %}" * 5_000 + "{% endif %}" * 5_000, "blocks in another"),
    "not": ("{{ " + "not " * 5_000 + "x }}", "in a row"),
    "signs": ("{{ " + "-" * 5_000 + "1 }}", "in a row"),
    "choices": ("{{ " + "a if b else " * 5_000 + "c }}", "in a row"),
    "long": ("x" * 300_000, "300000 bytes"),
    "tokens": ("{{ " + "a," * 60_000 + " }}", "tokens"),
}


@pytest.mark.parametrize(("text", "bound"), DEEP.values(), ids=DEEP.keys())
def test_what_is_built_to_exhaust_the_parser_is_an_error(text: str, bound: str) -> None:
    begin = time.perf_counter()
    [sight] = look_at(text, "chat_template.jinja")
    assert (sight.reason, sight.severity) == ("TemplateUnread", "Error")
    assert bound in sight.detail  # before the parser has seen it
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize(
    "text",
    [
        "{{ " + "a + " * 10_000 + "b }}",
        "{{ x" + "|trim" * 10_000 + " }}",
        "{{ x" + ".y" * 10_000 + " }}",
        "{{ x" + "[0]" * 9_000 + " }}",
        "{{ " + "'a' ~ " * 10_000 + "'b' }}",
        "{% if a %}{% elif b " + "%}{% elif c " * 5_000 + "%}{% endif %}",
        "{" * 200_000,
        "{{" * 50_000,
        "{#" * 50_000,
        "{% raw %}" * 20_000,
        "{{ '" + "\\" * 200_000 + "' }}",
        "{{ " + "9" * 200_000 + " }}",
    ],
    ids=lambda text: str(text[:12]),
)
def test_long_chains_take_no_long_time_and_no_exception(text: str) -> None:
    begin = time.perf_counter()
    look_at(text, "chat_template.jinja")
    assert time.perf_counter() - begin < 5


@pytest.mark.parametrize(
    "text",
    [
        "Be kind.\U000e0049\U000e0067\U000e006e",
        "safe \u202e{{ x }}",
        "{{ 'a\u200bb' }}",
        "{# note\u2066 #}",
    ],
    ids=["tags", "bidi", "zero width", "comment"],
)
def test_characters_that_nobody_sees_are_told_with_their_line(text: str) -> None:
    sights = look_at("one\n" + text, "chat_template.jinja")
    assert [(s.reason, s.severity) for s in sights] == [
        ("TemplateHiddenText", "Warning")
    ]
    assert "line 2" in sights[0].detail
    assert sights[0].detail.isascii()


def test_joiners_that_writing_systems_need_are_not_hidden_text() -> None:
    assert look_at("\u0645\u06cc\u200c\u062e \U0001f469\u200d\U0001f4bb", "t") == []


def test_what_is_no_jinja_is_told_and_not_raised() -> None:
    assert _reasons("{% nonsense %}") == {("TemplateUnread", "Warning")}


def test_two_templates_that_disagree_are_told(tmp_path: Path) -> None:
    files = {
        "model.safetensors": weights({"a": matrix()}),
        "tokenizer_config.json": b'{"chat_template": "a"}',
        "chat_template.jinja": b"b",
    }
    assert "TemplateAmbiguous" in _examined(tmp_path / "two", files)
    files["chat_template.jinja"] = b"a\r\n"
    assert "TemplateAmbiguous" not in _examined(tmp_path / "one", files)


def test_many_large_templates_are_an_error_and_take_no_long_time(
    tmp_path: Path,
) -> None:
    named = {str(n): "x" * 100_000 + str(n) for n in range(40)}
    files = {
        "model.safetensors": weights({"a": matrix()}),
        "tokenizer_config.json": json.dumps({"chat_template": named}).encode(),
    }
    finding = _examined(tmp_path, files)["TemplateUnread"]
    assert finding.severity is Severity.ERROR
    assert "in all" in finding.message


def test_more_templates_than_are_looked_at_are_an_error(tmp_path: Path) -> None:
    model = {"model.safetensors": weights({"a": matrix()})}
    named = {str(n): f"{{{{ x{n} }}}}" for n in range(TEMPLATES_MAX + 1)}
    config = {"tokenizer_config.json": json.dumps({"chat_template": named}).encode()}
    beside = {f"{n}.jinja": str(n).encode() for n in range(FILES_MAX + 1)}
    large = {"chat_template.jinja": b" " * 2_000_000}
    worlds = {"named": config, "beside": beside, "large": large}
    for name, files in worlds.items():
        finding = _examined(tmp_path / name, {**model, **files})["TemplateUnread"]
        assert finding.severity is Severity.ERROR


def test_the_worst_of_very_many_lines_is_kept() -> None:
    sights = look_at("{{ lipsum() }}\n" * 5_000 + "{{ x.__class__ }}", "t")
    assert len(sights) == SIGHTS_MAX
    assert [s.severity for s in sights].count("Error") == 1


def test_many_bad_lines_are_one_finding(tmp_path: Path) -> None:
    files = {
        "model.safetensors": weights({"a": matrix()}),
        "chat_template.jinja": b"{{ x.__class__ }}\n" * 5_000,
    }
    found = _examined(tmp_path, files)
    assert "more like these" in found["TemplateEscape"].message
