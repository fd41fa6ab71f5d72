"""The README's tree names every source file, and only files that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
TREE = re.compile(r"^( *)([\w.\-]+/?)(?:  +\S.*)?$")


def tree_paths() -> set[str]:
    """Paths of the block under the heading "The tree", folders by indentation."""
    block = (ROOT / "README.md").read_text(encoding="utf-8").split("## The tree")[1].split("```")[1]
    folders: list[str] = []
    paths = set()
    for line in block.strip("\n").splitlines():
        match = TREE.match(line)
        assert match, line
        depth, name = len(match[1]) // 2, match[2]
        folders[depth:] = [name.rstrip("/")]
        paths.add("/".join(folders))
    return paths


def test_every_named_path_exists() -> None:
    assert [path for path in sorted(tree_paths()) if not (ROOT / path).exists()] == []


def test_every_source_file_is_named() -> None:
    patterns = ("fourcast/**/*.py", "benchmarks/*.py", "scripts/**/*.*", "docker/*.*", "docs/*.md")
    sources = [path for pattern in patterns for path in ROOT.glob(pattern) if "__pycache__" not in path.parts]
    found = {str(path.relative_to(ROOT)) for path in sources if path.name != "__init__.py"}
    assert sorted(found - tree_paths()) == []
