"""Files of nested `key: value` read into one shape: the text of `nvidia-smi -q`, and XML.

XML is read with expat directly. Entity declarations are refused and nothing external is ever fetched, so neither an entity bomb nor
a file:// reference can do anything; the DOCTYPE line that nvidia-smi writes is fine.
"""

import re
from collections.abc import Iterator
from xml.parsers import expat

from hwbench.core.errors import UserError

_LINE = re.compile(r"^( *)(\S.*?)\s*(?::(?: (.*))?)?$")
_MAX_DEPTH = 64


class Node:
    """One element: its name, its text, its attributes (XML only) and its children in order."""

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, text: str = "", attributes: dict[str, str] | None = None) -> None:
        self.name = name
        self.text = text
        self.attributes = attributes or {}
        self.children: list[Node] = []

    def all(self, name: str) -> list["Node"]:
        """The children of a name."""
        return [child for child in self.children if child.name == name]

    def at(self, path: str) -> "Node | None":
        """The first descendant at a path of names with slashes between; None where there is none."""
        here: Node | None = self
        for name in path.split("/"):
            here = next((child for child in here.children if child.name == name), None) if here else None
        return here

    def walk(self) -> Iterator["Node"]:
        """The node and everything below it, parents first."""
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            pending += reversed(node.children)


def from_indented(lines: list[str]) -> Node:
    """The tree of lines such as `    FB Memory Usage` and `        Total  : 81559 MiB`: deeper indentation is a child."""
    root = Node("")
    stack: list[tuple[int, Node]] = [(-1, root)]
    for line in lines:
        match = _LINE.match(line.rstrip())
        if match is None:
            continue
        indent = len(match[1])
        node = _key_value(line.strip())
        while stack[-1][0] >= indent:
            stack.pop()
        if len(stack) <= _MAX_DEPTH:
            stack[-1][1].children.append(node)
            stack.append((indent, node))
    return root


def _key_value(line: str) -> Node:
    # The colon that matters stands alone (`Bus Id   : 00000000:07:00.0`); `GPU 00000000:07:00.0` has none.
    key, colon, value = line.partition(" :")
    return Node(key.strip(), value.strip()) if colon else Node(line.strip())


def from_xml(data: bytes, source: str) -> Node:
    """The tree of an XML file; UserError where it is not well formed, declares entities or nests too deep."""
    root = Node("")
    stack = [root]

    def start(name: str, attributes: dict[str, str]) -> None:
        if len(stack) > _MAX_DEPTH:
            raise UserError(f"{source}: XML nested deeper than {_MAX_DEPTH} elements")
        node = Node(name, attributes=attributes)
        stack[-1].children.append(node)
        stack.append(node)

    def end(_name: str) -> None:
        stack.pop()

    def characters(text: str) -> None:
        stack[-1].text += text

    def refuse(name: str, *_rest: object) -> None:
        raise UserError(f"{source}: XML that declares an entity ({name}) is not read", hint="no tool of NVIDIA or NCCL writes one")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, characters
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise UserError(f"{source}: not well-formed XML: {error}") from error
    for node in root.walk():
        node.text = node.text.strip()
    return root.children[0]
