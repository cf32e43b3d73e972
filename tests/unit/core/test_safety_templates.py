# SPDX-License-Identifier: Apache-2.0
"""Chat templates as honest models have them: nothing to tell but their digest.

The templates are written for these tests, with the constructs that the families use.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifact_world.weights import lay_out, matrix, weights
from pedigree import refs
from pedigree.evidence.chat_templates import CHAT_TEMPLATE, MORE, TEMPLATES_TOLD_MAX
from pedigree.examine import ExamineSettings, examine
from pedigree.examine.safety.template_files import template_digest
from pedigree.examine.safety.templates import TEMPLATE_MAX_BYTES, look_at
from pedigree.sources import SourceSettings

NOW = datetime(2026, 11, 23, 4, 5, 6, tzinfo=UTC)

CHATML = """\
{%- if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}
{% endif -%}
{% for message in messages %}
{% if loop.first and message['role'] != 'system' %}
{{ '<|im_start|>system\\nYou help.<|im_end|>\\n' }}
{% endif %}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""
LLAMA_3 = """\
{{- bos_token }}
{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}
{%- if not date_string is defined %}
  {%- if strftime_now is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
  {%- else %}{%- set date_string = "1 Jan 2025" %}{%- endif %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
  {%- set system_message = messages[0]['content'] | trim %}
  {%- set messages = messages[1:] %}
{%- else %}{%- set system_message = "" %}{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
  {%- for t in tools %}{{- t | tojson(indent=4) }}{{- "\\n\\n" }}{%- endfor %}
{%- endif %}
{{- system_message }}{{- "<|eot_id|>" }}
{%- for message in messages %}
  {%- if not (message.role == 'ipython' or 'tool_calls' in message) %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {{- message['content'] | trim + '<|eot_id|>' }}
  {%- elif 'tool_calls' in message %}
    {%- if not message.tool_calls|length == 1 %}
      {{- raise_exception("one tool call at once") }}
    {%- endif %}
    {%- set tool_call = message.tool_calls[0].function %}
    {{- '{"name": "' + tool_call.name + '", "parameters": ' }}
    {%- for arg_name, arg_val in tool_call.arguments | items %}
      {{- arg_name + '="' + arg_val + '"' }}{%- if not loop.last %}, {% endif %}
    {%- endfor %}
  {%- elif message.role == "tool" %}
    {%- if message.content is mapping or message.content is iterable %}
      {{- message.content | tojson }}
    {%- else %}{{- message.content }}{%- endif %}
  {%- endif %}
{%- endfor %}
"""
MISTRAL = """\
{%- if messages[0]["role"] == "system" %}
  {%- set system_message = messages[0]["content"] %}
  {%- set loop_messages = messages[1:] %}
{%- else %}{%- set loop_messages = messages %}{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
  {%- if not (message.role == "tool" or (message.tool_calls is defined
      and message.tool_calls is not none)) %}
    {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
      {{- raise_exception("roles must take turns") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
  {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
  {%- if message["role"] == "user" %}
    {%- if tools is not none and (message == user_messages[-1]) %}
      {{- "[AVAILABLE_TOOLS] [" }}
      {%- for tool in tools %}
        {%- set tool = tool.function %}
        {%- for key, val in tool.items() if key != "return" %}
          {%- if val is string %}{{- '"' + key + '": "' + val + '"' }}
          {%- else %}{{- '"' + key + '": ' + val|tojson }}{%- endif %}
          {%- if not loop.last %}{{- ", " }}{%- endif %}
        {%- endfor %}
      {%- endfor %}
      {{- "][/AVAILABLE_TOOLS]" }}
    {%- endif %}
    {{- "[INST] " + message["content"] + "[/INST]" }}
  {%- elif message["tool_calls"] is defined %}
    {%- for tool_call in message.tool_calls %}
      {%- if not tool_call.id is defined or tool_call.id|length != 9 %}
        {{- raise_exception("ids have nine characters") }}
      {%- endif %}
      {%- set out = tool_call.function|tojson %}{{- out[:-1] }}
    {%- endfor %}
  {%- else %}{{- " " + message["content"]|trim + eos_token }}{%- endif %}
{%- endfor %}
"""
GEMMA = """\
{{ bos_token }}
{%- macro describe(schema, depth=0) -%}
  {%- for key, value in schema.properties.items() -%}
    {{ key }}: {{ value.type | upper }}
    {%- if value.type == 'object' -%}{{ describe(value, depth + 1) }}{%- endif -%}
  {%- endfor -%}
{%- endmacro -%}
{%- if messages[0]['role'] == 'system' -%}
  {%- if messages[0]['content'] is string -%}
    {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
  {%- else -%}
    {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
  {%- endif -%}
  {%- set loop_messages = messages[1:] -%}
{%- else -%}
  {%- set first_user_prefix = "" -%}{%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
  {%- set role = "model" if (message['role'] == 'assistant') else message['role'] -%}
  {{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
  {%- if message['content'] is iterable and message['content'] is not string -%}
    {%- for item in message['content'] -%}
      {%- if item['type'] == 'image' -%}{{ '<start_of_image>' }}
      {%- elif item['type'] == 'text' -%}{{ item['text'] | trim }}{%- endif -%}
    {%- endfor -%}
  {%- endif -%}
  {{ '<end_of_turn>\\n' }}
{%- endfor -%}
"""
DEEPSEEK = """\
{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}
{% endif %}{% set ns = namespace(is_first=false, is_tool=false, system_prompt='') %}
{%- for message in messages %}{%- if message['role'] == 'system' %}
{% set ns.system_prompt = ns.system_prompt ~ message['content'] %}
{%- endif %}{%- endfor %}{{ bos_token }}{{ ns.system_prompt }}
{%- for message in messages %}
{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}
{{ '<\uff5cUser\uff5c>' + message['content'] }}{%- endif %}
{%- if message['role'] == 'assistant' and message['content'] is not none %}
{% set content = message['content'] %}
{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}
{% endif %}
{{ '<\uff5cAssistant\uff5c>' + content + '<\uff5cend\u2581of\u2581sentence\uff5c>' }}
{%- endif %}{%- endfor -%}
{% if add_generation_prompt and not ns.is_tool %}{{ '<\uff5cAssistant\uff5c>' }}
{% endif %}
"""
QWEN = """\
{%- set image_count = namespace(value=0) %}
{%- macro render(content, do_count) %}
  {%- if content is string %}{{- content }}
  {%- else %}
    {%- for item in content %}
      {%- if 'image' in item or item.type == 'image' %}
        {%- if do_count %}{%- set image_count.value = image_count.value + 1 %}
        {%- endif %}
        {%- if add_vision_id %}Picture {{ image_count.value }}: {% endif -%}
      {%- elif 'text' in item %}{{- item.text }}{%- endif %}
    {%- endfor %}
  {%- endif %}
{%- endmacro %}
{%- set ns = namespace(multi_step_tool=true, last_query=messages|length - 1) %}
{%- for message in messages[::-1] %}
  {%- set index = (messages|length - 1) - loop.index0 %}
  {%- if ns.multi_step_tool and message.role == "user" and
      not(message.content.startswith('<tool_response>')
      and message.content.endswith('</tool_response>')) %}
    {%- set ns.multi_step_tool = false %}{%- set ns.last_query = index %}
  {%- endif %}
{%- endfor %}
{%- for message in messages %}
  {%- set content = render(message.content, true) | trim %}
  {%- if message.role == "assistant" %}
    {%- set reasoning = '' %}
    {%- if message.reasoning_content is defined %}
      {%- set reasoning = message.reasoning_content %}
    {%- elif '</think>' in content %}
      {%- set reasoning = content.split('</think>')[0].rstrip('\\n')
          .split('<think>')[-1].lstrip('\\n') %}
      {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {%- if loop.last or (not loop.last and reasoning) %}
      {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning.strip('\\n') }}
    {%- endif %}
    {% generation %}{{- content }}{% endgeneration %}
  {%- elif message.role == "tool" %}
    {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
      {{- '<|im_start|>user' }}
    {%- endif %}
    {%- if not loop.last and messages[loop.index0 + 1].role != "tool" %}
      {{- '<|im_end|>\\n' }}{% continue %}
    {%- endif %}
  {%- endif %}
{%- endfor %}
"""
HONEST = {
    "ChatML": CHATML,
    "Llama 3": LLAMA_3,
    "Mistral": MISTRAL,
    "Gemma": GEMMA,
    "DeepSeek": DEEPSEEK,
    "Qwen": QWEN,
}


@pytest.mark.parametrize("text", HONEST.values(), ids=HONEST.keys())
def test_the_template_of_a_family_gives_no_finding(text: str) -> None:
    assert look_at(text, "chat_template.jinja") == []


@pytest.mark.parametrize("text", HONEST.values(), ids=HONEST.keys())
def test_a_template_of_a_family_with_one_bad_line_gives_a_finding(text: str) -> None:
    lines = text.splitlines(keepends=True)
    sights = look_at("".join([*lines, "{{ x.__class__ }}"]), "t")
    assert [(s.reason, s.severity) for s in sights] == [("TemplateEscape", "Error")]
    assert f"line {len(lines) + 1}:" in sights[0].detail
    assert "x.__class__" in sights[0].detail


def test_a_text_in_no_template_language_is_fine() -> None:
    assert look_at("Be kind, and say __init__ and %s and {0.x} if you like.", "t") == []


def test_code_in_a_prompt_is_no_reach() -> None:
    text = "{{ '<|system|>' + 'Write def __init__(self) and {}.' + bos_token }}"
    assert look_at(text, "t") == []


def test_an_odd_escape_is_no_finding() -> None:
    assert look_at(r"{{ content.split('\d') }}", "t") == []


def test_a_mark_of_byte_order_is_hidden_only_within_the_text() -> None:
    assert look_at("\ufeffa\nb", "t") == []
    assert [s.reason for s in look_at("a\n\ufeffb", "t")] == ["TemplateHiddenText"]


def test_a_template_at_the_bound_is_read_and_one_beyond_is_not() -> None:
    assert look_at("x" * TEMPLATE_MAX_BYTES, "t") == []
    assert look_at("x" * (TEMPLATE_MAX_BYTES + 1), "t") != []


def _claims(folder: Path, files: dict[str, bytes]) -> list[tuple[str, str]]:
    lay_out(folder, {"model.safetensors": weights({"a": matrix()}), **files})
    found = examine(
        refs.parse(f"file://{folder}"),
        settings=ExamineSettings(sources=SourceSettings()),
        now=NOW,
    )
    claims = found.evidence.claims
    return [(c.source, c.value) for c in claims if c.field == CHAT_TEMPLATE]


def test_the_digest_of_a_template_is_a_claim(tmp_path: Path) -> None:
    files = {"chat_template.jinja": CHATML.encode()}
    assert _claims(tmp_path, files) == [
        ("chat_template.jinja", template_digest(CHATML))
    ]


def test_one_template_in_two_places_is_one_claim(tmp_path: Path) -> None:
    files = {
        "chat_template.jinja": CHATML.encode(),
        "tokenizer_config.json": json.dumps({"chat_template": CHATML}).encode(),
    }
    assert len(_claims(tmp_path, files)) == 1


def test_named_templates_are_claims_with_their_names(tmp_path: Path) -> None:
    named = [
        {"name": "default", "template": CHATML},
        {"name": "tool_use", "template": MISTRAL},
        {"name": 3, "template": None},
        "no template",
    ]
    config = json.dumps({"chat_template": named}).encode()
    assert _claims(tmp_path, {"tokenizer_config.json": config}) == [
        ("tokenizer_config.json", template_digest(CHATML)),
        ("tokenizer_config.json#tool_use", template_digest(MISTRAL)),
    ]


def test_many_templates_leave_room_for_other_claims(tmp_path: Path) -> None:
    named = {str(n): f"{{{{ x{n} }}}}" for n in range(100)}
    config = json.dumps({"chat_template": named}).encode()
    found = _claims(tmp_path, {"tokenizer_config.json": config})
    assert len(found) == TEMPLATES_TOLD_MAX + 1
    assert found[-1] == ("tokenizer_config.json#4", MORE)
    few = json.dumps({"chat_template": dict(list(named.items())[:4])}).encode()
    assert MORE not in str(_claims(tmp_path, {"tokenizer_config.json": few}))


def test_line_ends_do_not_change_the_digest_and_words_do() -> None:
    digest = template_digest("a\nb\n")
    assert digest == template_digest("a\r\nb") == template_digest("\ufeffa\nb\n\n")
    assert digest != template_digest("a\nc\n")
    assert digest != template_digest("a\n b\n")
    assert template_digest("\ud800").startswith("sha256:")


PIECES = st.sampled_from(
    ["{{", "}}", "{%", "%}", "{#", "#}", " if ", " for ", " in ", " end", "x", "|", ".",
     "__class__", "'", '"', "(", ")", "[", "]", "{", "}", ":", ",", "~", "*", "**", "-",
     "not ", "1", "9" * 30, "\\x5f", "\u202e", "\ud800", "\0", "\n", "set ", "=",
     "raw ", "endraw", "macro m()", "endmacro", "else", "is ", "map", "attr", "range"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=60).map("".join)))
def test_any_text_gives_findings_and_no_exception(text: str) -> None:
    for sight in look_at(text, "chat_template.jinja"):
        assert sight.severity in ("Error", "Warning")
