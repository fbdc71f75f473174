"""The files for a board's repository: they are valid YAML, and the script of the workflow does what it says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")
FILES = Path(__file__).parents[2] / "docs" / "board-repository"


def test_the_template_asks_for_what_a_board_needs():
    body = yaml.safe_load((FILES / "submission.yml").read_text())["body"]
    required = {part["id"] for part in body if part.get("validations", {}).get("required")}
    assert required == {"method", "name"} and {part["type"] for part in body} <= {"markdown", "input", "checkboxes"}


@pytest.mark.slow
def test_the_workflow_refuses_a_pull_request_with_one_forged_submission(packed, tmp_path):
    workflow = yaml.safe_load((FILES / "check.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"} and "--trust" not in str(workflow)
    script = workflow["jobs"]["check"]["steps"][-1]["run"]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "xaibench").write_text(f'#!/bin/sh\nexec {sys.executable} -m xaibench "$@"\n')
    (tmp_path / "bin" / "xaibench").chmod(0o755)
    (tmp_path / "submissions").mkdir()
    shutil.copy(packed.zip, tmp_path / "submissions" / "good.zip")
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
                                "PYTHONPATH": str(Path(__file__).parents[2])}  # fmt: skip
    shell = lambda: subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=environment, check=False)  # noqa: E731
    assert shell().returncode == 0
    (tmp_path / "submissions" / "bad.zip").write_bytes(packed.zip.read_bytes()[:-30])
    assert shell().returncode == 1
