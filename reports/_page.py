"""What all pages share: one file with everything in it, escaped, with plots that work offline."""

import base64
import gzip
import hashlib
import json
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined


def page(template: str, *, title: str, made_at: str, hwbench_version: str, **content: Any) -> str:
    """A page from a template that extends `_base.html.j2`.

    Every text is escaped (jinja2 autoescape; JSON with `<` written as an escape), and the content security policy runs no script but the
    two that are in here by their hashes. plotly travels compressed: the page unpacks it (DecompressionStream: Chromium 80, Firefox 113,
    Safari 16.4 and later), and an older browser still shows every table.
    """
    library, script = _library(), _file("report.js")
    return (
        _environment()
        .get_template(template)
        .render(
            title=title,
            made_at=made_at,
            hwbench_version=hwbench_version,
            style=_file("report.css"),
            script=script,
            library=library.packed,
            script_hashes=f"'{_hash(script)}' '{library.hash}'",
            **content,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hwbench.reports"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["script_json"] = _script_json
    return environment


def _script_json(value: Any) -> str:
    """JSON that can stand inside a script element; jinja2 leaves it alone, so it must hold no markup at all."""
    from markupsafe import Markup

    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704  # no < > & is left in it


class _Library(NamedTuple):
    """plotly's script: gzip in base64, and the hash of the script itself."""

    packed: str
    hash: str


@cache
def _library() -> _Library:
    from plotly.offline import get_plotlyjs

    script = get_plotlyjs()
    return _Library(base64.b64encode(gzip.compress(script.encode(), compresslevel=9, mtime=0)).decode(), _hash(script))


def _file(name: str) -> str:
    return (resources.files("hwbench.reports") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """A script's hash as a content security policy names it."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
