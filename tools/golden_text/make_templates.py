"""Writes tests/support/golden_text/templates.jsonl: what transformers renders of chat templates, ordinary and tricky ones.

    python tools/golden_text/make_templates.py       (from the repository's root; needs transformers 5.17)

A line each: {"template", "messages", "add_generation_prompt", "text"} or, where rendering raises, "error": true instead of "text".
"""
import json
import pathlib

import jinja2
import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

from family_templates import FAMILIES

BOS, EOS = "<s>", "</s>"
CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
LLAMA3 = ("{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + "
          "'<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}"
          "{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}")
LLAMA2 = ("{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
          "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
          "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
          "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
          "{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
          "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}"
          "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
          "{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}")
QWEN = '''{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- endif %}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- tool_call.arguments | tojson }}
        {%- endfor %}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
'''
QWEN3 = '''{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}'''
LLAMA31 = '''{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}

{#- This block extracts the system message, so we can slot it into the right place. #}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}

{#- System message #}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: ipython\\n" }}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- for arg_name, arg_val in tool_call.arguments | items %}
            {{- arg_name + '="' + arg_val + '"' }}
            {%- if not loop.last %}
                {{- ", " }}
            {%- endif %}
        {%- endfor %}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
'''
TINY_CODER = json.loads(pathlib.Path("models/tiny-coder/tokenizer_config.json").read_text())["chat_template"]

SMALL = [
    # White space: trim_blocks, lstrip_blocks, signs, comments, newlines of each kind, the last newline.
    "a\n  {% if true %}\n  b\n  {% endif %}\n  c\n", "a\n  {%+ if true %}\n b {%- endif %}  \n c", "  {% if true %}x{% endif +%}\ny", "{% if true -%}  \n\n  x  {%- endif %}\n\n",
    "a {# comment #}\n b\n {#- x -#}\n c {#+ y +#} d", "a\r\nb\rc{% if true %}\r\nd{% endif %}\r\n", "x\n\n", "{{ 'a' }}\n", "{{ 'a' -}}\n  b {{- 'c' }}", "   {{ 'a' }}", "\t{% if true %}\n\t\tx\n\t{% endif %}\n\ty",
    "{% if true %}\n\n{% endif %}", "a {% if true %} b {% endif %} c", "{%if true%}x{%endif%}", "\u00a0 {% if true %}x{% endif %}", "a\u2003{%- if true %}x{% endif %}", "{% if true %}\n  {% if true %}\n  x\n  {% endif %}\n{% endif %}",
    "{ {{ '{{' }} } {%'' %}" if False else "{ {{ '{{' }} }", "{{ '%}' }}{% if '}}' == '}}' %}y{% endif %}",
    # Literals and printing.
    "{{ 1 }} {{ true }} {{ False }} {{ none }} {{ None }} {{ missing }}|{{ 'a\\nb\\t\\'\\\"\\\\ \\x41\\u00e9\\q' }}", "{{ 'a' 'b' \"c\" }}", "{{ 'it''s' }}", "{{ -3 }} {{ - 3 + 5 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 2 * 3 - 1 }}",
    "{{ 1 ~ 'a' ~ true ~ none ~ missing }}", "{{ 'a' + 'b' ~ 1 + 2 }}", "{{ (1, 2) | length }} {{ [1, [2, 3]] | tojson }} {{ [] | tojson }} {{ messages[0] | tojson }} {{ messages | tojson(indent=2) }}",
    # Logic.
    "{{ 1 == 1 }} {{ 1 == true }} {{ '1' == 1 }} {{ none == missing }} {{ missing == other }} {{ 1 < 2 < 3 }} {{ 1 < 2 > 5 }} {{ 'a' < 'b' }} {{ [1, 2] == [1, 2] }}", "{{ 'a' or 'b' }} {{ '' or 'b' }} {{ 'a' and 'b' }} {{ '' and 'b' }}|{{ not '' }} {{ not not 1 }}",
    "{{ 'x' if false }}|{{ 'x' if true else 'y' }} {{ 'x' if false else 'y' if false else 'z' }}", "{{ 'a' in 'cat' }} {{ 'a' not in 'cat' }} {{ 1 in [1] }} {{ 'role' in messages[0] }} {{ 'tool_calls' in messages[0] }} {{ 1 in missing }}",
    "{{ missing is defined }} {{ missing is not defined }} {{ messages is defined }} {{ not missing is defined }} {{ missing is undefined }} {{ tools is none }} {{ tools is defined }} {{ strftime_now is mapping }}",
    "{{ 'a' is string }} {{ 1 is string }} {{ 1 is number }} {{ true is number }} {{ true is integer }} {{ 1 is integer }} {{ true is boolean }} {{ messages is iterable }} {{ messages is sequence }} {{ messages[0] is mapping }} {{ 1 is iterable }} {{ 3 is odd }} {{ 3 is even }} {{ true is true }} {{ 1 is true }} {{ false is false }} {{ messages[0] is sequence }}",
    # Attributes, items, slices.
    "{{ messages[0].role }} {{ messages[-1]['content'] }} {{ messages[99] }} {{ messages[0].nothing }} {{ messages[0]['nothing'] }}", "{{ missing.a }}", "{{ missing[0] }}", "{{ messages[0].nothing.more }}", "{{ none.a }}", "{{ 'abc'[1] }} {{ 'h\u00e9llo'[1:3] }} {{ 'abc'[::-1] }} {{ 'abc'[-2:] }} {{ 'abc'[5:] }}|{{ 'abc'[:-1] }} {{ 'abcdef'[1:5:2] }} {{ 'abcdef'[4:0:-2] }} {{ 'abc'[-99:99] }}",
    "{% for m in messages[1:] %}{{ m.role }},{% endfor %}{% for m in messages[:-1] %}{{ m.role }},{% endfor %}{% for m in messages[::-1] %}{{ m.role }},{% endfor %}",
    # Loops and scopes.
    "{% for m in messages %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }} {% else %}none{% endfor %}", "{% for m in [] %}x{% else %}none{% endfor %}", "{% for c in 'a\u00e9\U0001F44D' %}[{{ c }}]{% endfor %}", "{% for k in messages[0] %}{{ k }},{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}/{{ loop.length }}{{ m.content }}{% else %}no user{% endfor %}", "{% for x in [3, 1, 2] if x > 1 %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}", "{% for m in messages %}{% if loop.index0 == 1 %}{% break %}{% endif %}{{ m.role }}{% endfor %}", "{% for m in messages %}{% if m.role == 'user' %}{% continue %}{% endif %}{{ m.role }}{% endfor %}",
    "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 5 %}{{ x }}{% endfor %}{{ x }}", "{% set ns = namespace(a=1, b='x') %}{% for i in [1, 2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns.c }}", "{% if true %}{% set x = 2 %}{% endif %}{{ x }}", "{% for m in messages %}{{ loop.previtem.role if loop.previtem is defined else '-' }}{{ loop.nextitem.role | default('-') }} {% endfor %}",
    "{% for a, b in [[1, 2], [3, 4]] %}{{ a }}{{ b }}{% endfor %}{% for k, v in messages[0].items() %}{{ k }}={{ v }};{% endfor %}{% for k, v in messages[0] | items %}{{ k }}={{ v }};{% endfor %}", "{% for i in range(3) %}{{ i }}{% endfor %}{% for i in range(5, 1, -2) %}{{ i }}{% endfor %}", "{% for x in missing %}a{% else %}b{% endfor %}", "{% for x in none %}a{% endfor %}", "{% for x in 5 %}a{% endfor %}",
    "{% for m in messages %}{% for n in messages %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}", "{% generation %}x{% endgeneration %}y",
    # Filters and methods.
    "{{ '  a b\u00a0\u2003 ' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ '\\x1c a \\x85' | trim }}|", "{{ 'h\u00e9\U0001F44D' | length }} {{ messages | length }} {{ messages | count }} {{ missing | length }}", "{{ missing | default('d') }} {{ '' | default('d') }}|{{ '' | default('d', true) }} {{ none | default('d', boolean=true) }} {{ missing | d }}|", "{{ 'stra\u00dfe \u00e9' | upper }} {{ 'ABC \u00c9' | lower }} {{ 1 | upper }}",
    "{{ [1, 2] | first }} {{ 'abc' | last }} {{ [1, 'a', true] | join(', ') }} {{ 'abc' | list | join('-') }} {{ 'aXbX' | replace('X', 'yy') }} {{ 1 | string + 'a' }} {{ 'a<b' | safe }}", "{{ 'a\"\\\\\\n\u00e9\\x01/' | tojson }}",
    "{{ ' a '.strip() }}|{{ 'xxa'.lstrip('x') }}|{{ 'a\\n\\n'.rstrip('\\n') }}|{{ 'a b  c'.split() | join('|') }} {{ 'a,b,,c'.split(',') | join('|') }} {{ 'a,b,c'.split(',', 1) | join('|') }} {{ ' a b c '.split(none, 1) | join('|') }}|", "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith('ab') }} {{ 'abc'.startswith(('x', 'a')) }} {{ 'aab'.replace('a', 'c') }} {{ 'aB'.upper() }}{{ 'aB'.lower() }} {{ messages[0].get('role') }} {{ messages[0].get('x') }} {{ messages[0].get('x', 'y') }}",
    "{{ 'a' | trim | upper ~ 'b' | upper }}", "{{ -1 | string }}", "{{ ('a' + 'b') | upper }}",
    "{{ (messages | selectattr('role', 'equalto', 'user') | first).content }}{{ messages | rejectattr('role', 'eq', 'user') | list | length }}", "{{ messages | selectattr('nothing') | list | length }} {{ messages | selectattr('role') | list | length }} {{ messages | selectattr('nothing', 'defined') | list | length }} {{ messages | selectattr('nothing', 'undefined') | list | length }}",
    # Errors of the one rendering.
    "{{ 'a' + 1 }}", "{{ 1 + none }}", "{{ missing + 'a' }}", "{{ raise_exception('no') }}", "{% if messages[0].role != 'system' %}{{ raise_exception('first must be system') }}{% endif %}ok", "{{ 1 // 0 }}", "{{ 1 in 'a' }}", "{{ 'a' < 1 }}", "{{ 'a' in none }}", "{{ 'a'.split('') }}", "{{ 5 | length }}",
]

CONVERSATIONS = [
    [("user", "Hi")],
    [("system", " Be brief. "), ("user", "Write Python code that prints \"Jay\"")],
    [("system", "S"), ("user", "\n  first\t\n"), ("assistant", "<think>\nhm\n</think>\n\n answer "), ("user", "again \u00e9\U0001F44D\u200d")],
    [("user", "a"), ("user", "b"), ("assistant", "")],
    [("tool", "t1"), ("tool", "t2"), ("assistant", "x"), ("user", "<tool_response>x</tool_response>")],
    [],
]


def main():
    lines = []
    for template in [CHATML, LLAMA2, LLAMA3, LLAMA31, QWEN, QWEN3, TINY_CODER] + FAMILIES + SMALL:
        compiled = _compile_jinja_template(template)
        for conversation in CONVERSATIONS if template not in SMALL else CONVERSATIONS[2:3]:
            for prompt in [True, False] if template not in SMALL else [True]:
                line = {"template": template, "messages": conversation, "add_generation_prompt": prompt}
                messages = [{"role": role, "content": content} for role, content in conversation]
                try:
                    line["text"] = compiled.render(messages=messages, tools=None, documents=None, add_generation_prompt=prompt, bos_token=BOS, eos_token=EOS,
                                                    **({"strftime_now": jinja2.Undefined(name="strftime_now")} if template in FAMILIES else {}))  # the engine has no date
                except Exception as error:
                    line["error"] = str(error)
                lines.append(line)
    out = pathlib.Path("tests/support/golden_text/templates.jsonl")
    out.write_text("".join(json.dumps(line, ensure_ascii=True) + "\n" for line in lines))
    print(len(lines), "lines by transformers", transformers.__version__)


main()
