"""docs/architecture.md says what is there: its files exist, and its hops lead from one to the next."""

import ast
import re

import pytest

from tests.running import ROOT

TEXT = (ROOT / "docs" / "architecture.md").read_text()
HOPS = re.findall(r"^\| [^|]+ \| `([^`]+)` \| `([^`]+)` \|$", TEXT, re.MULTILINE)


def defined(path: str) -> set[str]:
    """The names that a module defines."""
    names = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:[a-z]+/)*[\w.]+\.py|[a-z]+/(?:[a-z]+/)*)`", TEXT))))
def test_what_it_names_is_there(name: str) -> None:
    assert (ROOT / name).exists()


def test_from_make_to_the_rule_in_four_hops() -> None:
    assert [path for path, _ in HOPS] == ["Makefile", "openwit.py", "pipeline/filter.py", "pipeline/text/rules.py"]
    (makefile, runs), (command, verbs), (stage, work), (rules, asked) = HOPS
    text = {path: (ROOT / path).read_text() for path, _ in HOPS}
    assert re.search(rf"^\t{re.escape(runs)} \$@ ", text[makefile], re.MULTILINE), "each stage is a target"
    assert verbs in defined(command) and "registry.STAGES" in text[command], "each stage is a verb"
    assert '"filter"' in (ROOT / "core/registry.py").read_text()
    assert {work, "main", "run"} <= defined(stage) and re.search(rf"stage\.run\([^\n]*{work}", text[stage])
    assert re.search(rf"\b{asked}\(row", text[stage]) and asked in defined(rules)
