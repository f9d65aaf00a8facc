"""What a release says of itself in several files, and the steps that need no other tools."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from release import build, check

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_the_licences_are_those_of_all_dependencies():
    extras = {"core": PROJECT["dependencies"], **PROJECT["optional-dependencies"]}
    needed = {}
    for extra, requirements in extras.items():
        for requirement in requirements:
            name = re.match(r"[\w.-]+", requirement)[0]
            if name != "convrnn":
                needed.setdefault(name, set()).add(extra)
    page = (ROOT / "docs" / "licences.md").read_text("utf-8")
    rows = re.findall(r"^\| (\S+) \| ([\w, ]+) \| (.+) \|$", page, re.MULTILINE)[1:]
    assert {name: set(extras.split(", ")) for name, extras, _ in rows} == needed


def test_the_version_and_its_date_are_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == PROJECT["version"]
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    released = re.findall(r"^## \[([\d.]+)\] - (\d{4}-\d\d-\d\d)$", changes, re.MULTILINE)
    assert released[0] == (PROJECT["version"], str(citation["date-released"]))


def test_a_missing_file_and_one_of_another_release_are_named(tmp_path):
    (tmp_path / "convrnn-0.0.1.tar.gz").write_bytes(b"")
    for platform in (*build.TARGETS, build.WITHOUT_KERNEL):
        (tmp_path / f"convrnn-{PROJECT['version']}-py3-none-{platform}.whl").write_bytes(b"")
    [defect] = check.defects(tmp_path)
    assert defect.endswith(f"missing: convrnn-{PROJECT['version']}.tar.gz; not of this release: convrnn-0.0.1.tar.gz")


def test_uncommitted_changes_are_refused(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / "new.py").write_text("")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    with pytest.raises(build.ReleaseError, match=r"commit or remove them first:\n\?\? new\.py"):
        build.build(tmp_path / "dist", {})
    assert not (tmp_path / "dist").exists()
