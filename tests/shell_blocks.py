"""The commands of xaibench in the shell blocks of a page, as a shell gives them. Nothing of a block is run.

A shell expands variables, loops and comments of a block, with a function in place of `xaibench` and nothing else that
could run. The function writes a command at once, since a block may start several beside one another.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

BLOCK = re.compile(r"^```(\w*)(?: title=\"[^\"]*\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = """
xaibench() { local words; printf -v words '%s\\x1f' "$@"; printf '%s\\x1e' "$words" >&9; }
scontrol() { echo node1; }
head() { read -r line; echo "$line"; }
command_not_found_handle() {
    while [ $# -gt 0 ]; do
        case "$1" in
            xaibench) shift; xaibench "$@"; return 0 ;;
            "xaibench "*) eval "$1"; return 0 ;;
        esac
        shift
    done
    return 0
}
"""
"""What a shell cannot find, which is everything, runs the xaibench among its words: `srun xaibench run ...`."""
VARIABLES = {
    "SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_SUBMIT_DIR": "job",
    "SLURM_JOB_NODELIST": "node[1-2]", "PATH": "/nowhere",
}  # fmt: skip
"""What a batch system sets; whatever else a block reads, it sets itself."""


def given(text: str, folder: Path) -> list[list[str]]:
    """The words of every command of xaibench in the blocks of a page."""
    found = []
    for language, block in BLOCK.findall(text):
        if language not in ("", "sh", "bash") or "xaibench" not in block:
            continue
        out = folder / "words"
        command = f"exec 9>{shlex.quote(str(out))}\n{SHELL}set -u\n{block}\nwait\n"
        done = subprocess.run(
            [shutil.which("bash"), "-c", command],
            cwd=folder,
            env=VARIABLES,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not done.stderr, f"{block}\n{done.stderr}"
        found += [line.split("\x1f")[:-1] for line in out.read_text().split("\x1e")[:-1]]
    return found
