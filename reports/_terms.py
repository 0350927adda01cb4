"""How to read every number of a report: the terms and their meanings, from templates/terms.txt.

That file is plain text: blocks parted by an empty line, the term on the first line of each, its meaning on the others.
"""

from importlib import resources


def terms() -> tuple[tuple[str, str], ...]:
    """(term, meaning) in the order in which a report shows them."""
    text = (resources.files("hwbench.reports") / "templates" / "terms.txt").read_text(encoding="utf-8")
    blocks = (block.partition("\n") for block in text.strip().split("\n\n"))
    return tuple((term, " ".join(meaning.split())) for term, _, meaning in blocks)
