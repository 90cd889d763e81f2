"""Evidently's page, made safe to show: what comes from the data is text there, and nothing else.

Evidently writes its figures, names of columns and categories among them, as JSON into a script. A
name such as ``</script><script>…`` would end that script and begin another.
"""

from __future__ import annotations

import re

from stages.shared import policy

# Its template as of 0.7: one style, the data as two variables of a line each, three scripts more.
_PAGE = re.compile(
    r"\s*<!DOCTYPE html>\s*<html lang=\"en\">\s*<head>(?P<head>[^\n]*\n(?:(?!<script).)*?)"
    r"<script>\n\s*var (?P<name>metric_[0-9a-f]+) = (?P<data>[^\n]*);\n"
    r"\s*var additional_graphs_(?P=name) = (?P<graphs>[^\n]*);\n\s*</script>(?P<rest>.*)",
    re.DOTALL,
)
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)
_SCRIPTS = 3  # beside the data: of one line, the library, the call that draws


def safe(html: str) -> str:
    """The page with its data escaped, and with a policy under which its own scripts alone run.

    Raises:
        ValueError: it is not written as Evidently 0.7 writes it.
    """
    found = _PAGE.fullmatch(html)
    if found is None:
        raise ValueError("Evidently's page is written in another way: see evidently_page.py")
    name = found["name"]
    data = (
        f"\nvar {name} = {_escaped(found['data'])};\n"
        f"var additional_graphs_{name} = {_escaped(found['graphs'])};\n"
    )
    scripts = [data, *_SCRIPT.findall(found["rest"])]
    if len(scripts) != 1 + _SCRIPTS:
        raise ValueError(f"Evidently's page has {len(scripts)} scripts: see evidently_page.py")
    said = policy.policy(
        map(policy.source, scripts),
        [policy.INLINE],  # its library makes styles as it runs
        "img-src data: blob:",
        "font-src data:",
    )
    head = f"{policy.HEAD}{policy.meta(said)}{found['head']}"
    return f"{head}<script>{data}</script>{found['rest']}"


def _escaped(json: str) -> str:
    """JSON that can end no script; in JSON these characters stand in texts alone."""
    for character in "<>&\u2028\u2029":
        json = json.replace(character, f"\\u{ord(character):04x}")
    return json
