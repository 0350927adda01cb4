"""What a gate says, as text, Markdown for a pull request, JUnit XML, or GitHub's annotations."""

from collections.abc import Callable
from typing import Final
from xml.etree import ElementTree

from hwbench.core.gate import GateResult, Judgement
from hwbench.core.units import UNKNOWN, format_rate, significant

_MARKS: Final = {"passed": "✅", "failed": "❌", "can't tell": "❔"}


def text(of: GateResult) -> str:
    """A line a check, the failed ones last, where a log ends."""
    lines = [_compared(of)]
    for one in sorted(of.judgements, key=lambda one: (one.fails, one.status != "can't tell")):
        reason = f" ({one.why})" if one.why else ""
        lines.append(f"{one.status:10}  rule {one.rule}  {one.case}: {figures(one)}{reason}{_by_choice(one)}")
    lines += [f"note: {flag}" for flag in of.flags]
    return "\n".join([*lines, conclusion(of)]) + "\n"


def markdown(of: GateResult) -> str:
    """A comment for a pull request: the verdict as heading, a table, the flags."""
    head = f"### {'❌' if of.failed else '✅'} hwbench gate: {conclusion(of)}"
    rows = [_row(one) for one in sorted(of.judgements, key=lambda one: (not one.fails, one.status == "passed"))]
    table = ["| | Case | Check | Figure | Why |", "| :-- | :-- | :-- | :-- | :-- |", *rows]
    flags = [f"> ⚠ {_cell(flag)}" for flag in of.flags]
    return "\n".join([head, "", _cell(_compared(of)), "", *table, *([""] if flags else []), *flags]) + "\n"


def _row(of: Judgement) -> str:
    cells = (f"{_MARKS[of.status]} {of.status}{_by_choice(of)}", _cell(of.case), of.check, _cell(figures(of)), _cell(of.why))
    return f"| {' | '.join(cells)} |"


def junit(of: GateResult) -> str:
    """A test suite: a test case a check; "can't tell" is a skipped test unless its rule lets it fail."""
    counts = {"failures": len(of.failed), "skipped": sum(one.status == "can't tell" and not one.fails for one in of.judgements)}
    suite = ElementTree.Element("testsuite", name="hwbench gate", tests=str(len(of.judgements)), errors="0")
    suite.attrib |= {name: str(count) for name, count in counts.items()}
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("candidate", of.candidate), ("baseline", of.baseline or ""), *(("flag", flag) for flag in of.flags)):
        ElementTree.SubElement(properties, "property", name=name, value=_xml(value))
    for one in of.judgements:
        case = ElementTree.SubElement(suite, "testcase", classname=f"rule {one.rule}.{one.check}", name=_xml(one.case))
        message = _xml(f"{figures(one)}; {one.why}" if one.why else figures(one))
        if one.fails:
            ElementTree.SubElement(case, "failure", type=one.status, message=message).text = message
        elif one.status == "can't tell":
            ElementTree.SubElement(case, "skipped", message=message)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def github(of: GateResult) -> str:
    """Workflow commands: an error for what fails the gate, a warning for what can't be told and each flag, a notice with the conclusion."""
    lines = []
    for one in of.judgements:
        if one.status != "passed":
            level = "error" if one.fails else "warning"
            lines.append(_command(level, f"{one.case}: {one.status}", f"{figures(one)}; {one.why}" if one.why else figures(one)))
    lines += [_command("warning", "hwbench gate", flag) for flag in of.flags]
    return "\n".join([*lines, _command("notice", "hwbench gate", conclusion(of))]) + "\n"


FORMATS: Final[dict[str, Callable[[GateResult], str]]] = {"text": text, "markdown": markdown, "junit": junit, "github": github}


def conclusion(of: GateResult) -> str:
    """The whole in one line."""
    undecided = sum(one.status == "can't tell" for one in of.judgements)
    told = f", {undecided} can't be told" if undecided else ""
    if of.failed:
        return f"{len(of.failed)} of {len(of.judgements)} checks failed{told}"
    return f"no check of {len(of.judgements)} failed{told}"


def figures(of: Judgement) -> str:
    """The figure, its interval and the limit: '1.31 times the baseline (1.28 to 1.35), at most 1.05'; a dash where there is none."""
    if of.check == "measured":
        return "no figures"
    slowdown = of.check == "slowdown"
    shown = [_shown(value, of.unit) for value in (of.value, of.low, of.high)]
    spread = f" ({shown[1]} to {shown[2]})" if of.low is not None and of.high is not None else ""
    value = UNKNOWN if of.value is None else f"{shown[0]}{' times the baseline' if slowdown else ''}{spread}"
    return f"{value}, {'at most' if slowdown else 'at least'} {_shown(of.limit, of.unit)}" if of.limit is not None else value


def _shown(value: float | None, unit: str) -> str:
    if value is None:
        return UNKNOWN
    if unit == "x":
        return f"{value:.3f}"
    return f"{significant(value)} {unit}" if unit == "items/s" else format_rate(value, unit)


def _compared(of: GateResult) -> str:
    return f"candidate {of.candidate}, baseline {of.baseline}" if of.baseline else f"candidate {of.candidate}, without a baseline"


def _by_choice(of: Judgement) -> str:
    """Why something undecided fails."""
    return " [fails: cant_tell = fail]" if of.fails and of.status == "can't tell" else ""


def _cell(text: str) -> str:
    """Text that neither ends a table's cell nor becomes markup."""
    plain = "".join(f"\\{c}" if c in "\\`*_[]|~#" else c for c in " ".join(text.split()))
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")


def _xml(text: str) -> str:
    """Text without the characters that XML 1.0 can't hold, not even escaped."""
    return "".join(c if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000" else "?" for c in text)


def _command(level: str, title: str, message: str) -> str:
    """`::error title=…::…`, escaped as GitHub's runner undoes it (actions/toolkit, command.ts)."""
    data = message.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    name = title.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A").replace(":", "%3A").replace(",", "%2C")
    return f"::{level} title={name}::{data}"
