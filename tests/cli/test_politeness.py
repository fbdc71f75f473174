"""Failing politely: each mistake is made by the command itself, and what it says is read.

One line on standard error that begins with `xaibench: `, an exit status that is not 0, nothing lost and nothing
half-written: `polite` and `untouched` check that for all of them. The command runs in this process (`call`) where only
its words and files matter, and in a process of its own (`start`) where signals, locks, pipes or its start matter.
"""

from __future__ import annotations

import contextlib
import errno
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from processes import hear_all
from torch import nn

import xaibench
from xaibench.logs import FILE as LOG
from xaibench.models.state import save_state
from xaibench.results.store import Store
from xaibench.results.validate import validate

pytestmark = pytest.mark.process  # whole runs or large networks: not in the fast tier

CHECKOUT = Path(xaibench.__file__).parents[1]
RUN = ("run", "sds", "--model", "tiny", "--dataset", "mini", "--quiet")
PHOTOS = ("run", "sds", "--model", "tiny", "--dataset", "imagefolder", "--data-root", "photos", "--quiet")
STORED = "what is done is stored, the same command goes on from there"
INTERRUPTED = f"interrupted; {STORED}"

HIDDEN_WARNINGS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)  # as Python starts


class Said(NamedTuple):
    status: int
    out: str
    err: str


def start(*words: object, path: object = "", **environment: object) -> subprocess.Popen:
    """`python -m xaibench` with these words, in a process group of its own, as a shell would start it."""
    added = {"PYTHONPATH": os.pathsep.join(filter(None, [str(path), str(CHECKOUT), os.environ["XAIBENCH_HOME"]]))}
    added |= {"OMP_NUM_THREADS": "1"} | {name: str(value) for name, value in environment.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "xaibench", *map(str, words)],
        env=os.environ | added, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=hear_all,
    )  # fmt: skip


def end(process: subprocess.Popen) -> Said:
    try:
        out, err = process.communicate(timeout=90)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return Said(process.returncode, out, err)


@pytest.fixture
def call(command, monkeypatch):
    """call("run", "sds", ..., XAIBENCH_HOME=...): what the command says in this process, with Python's warnings."""

    def show(message, category, filename, line, file=None, text=None) -> None:
        sys.stderr.write(warnings.formatwarning(message, category, filename, line, text))

    def go(*words: object, **environment: object) -> Said:
        with monkeypatch.context() as patch, warnings.catch_warnings():
            for name, value in environment.items():
                patch.setenv(name, str(value))
            warnings.resetwarnings()  # pytest collects warnings, and shows more of them
            for category in HIDDEN_WARNINGS:
                warnings.simplefilter("ignore", category)
            warnings.showwarning = show
            return Said(*command(*words))

    return go


def polite(said: Said, *words: str, status: int = 2) -> None:
    """One line that says all these words, nothing else on standard error, and the exit status."""
    assert said.status == status, f"{said.status}\n{said.out}\n{said.err}"
    assert said.err.startswith("xaibench: ") and len(said.err.splitlines()) == 1, said.err
    assert "Traceback" not in said.err + said.out
    for word in words:
        assert word in said.err, said.err


def table(folder: object) -> pd.DataFrame:
    return Store.open(folder).rows().sort_values(["cell", "image_id"], ignore_index=True)


def whole(folder: object = "results") -> set[tuple]:
    """The rows of a folder, which has nothing that `validate` complains about and no leftovers."""
    assert validate(folder) == []
    leftovers = [p for p in Path(folder).rglob("*") if p.suffix in (".tmp", ".part") or p.name.startswith(".probe")]
    assert not leftovers
    return set(table(folder).astype(str).itertuples(index=False, name=None))


@pytest.fixture(scope="session")
def stored(small_home, tmp_path_factory) -> Path:
    """A results folder with rows of an earlier run; making it trains the plain weights that all tests here use."""
    folder = tmp_path_factory.mktemp("stored") / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XAIBENCH_HOME", str(small_home))
        patch.syspath_prepend(str(small_home))
        xaibench.run("sds", model="tiny", dataset="mini", methods="ixg,random", images=4, out=folder)
    return folder


@pytest.fixture
def results(stored, home, tmp_path) -> Path:
    """A copy of these results as the default folder of this test."""
    return Path(shutil.copytree(stored, tmp_path / "results"))


@pytest.fixture
def untouched(results):
    """The rows that were there before a failing command are there after it, in a folder without problems."""
    before = whole()
    yield before
    assert before <= whole()


class Exploit:
    """What a malicious pickle holds: a call of some function, here one that makes a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.fixture(scope="session")
def weights(small_home, tmp_path_factory) -> Path:
    """A folder of weights: two classes (which fit the photos), nine, another architecture, and no weights at all."""
    folder = tmp_path_factory.mktemp("weights")
    build = runpy.run_path(str(small_home / "xaibench_test_network.py"))["build"]
    for name, net in (("two", build(2)), ("nine", build(9)), ("other", nn.Sequential(nn.Linear(3, 2)))):
        save_state(net, folder / f"{name}.safetensors", {})
    (folder / "page.safetensors").write_text("<!doctype html><html>Sign in</html>")
    torch.save(Exploit(folder / "executed"), folder / "code.pth")
    return folder


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("run sdss --model tiny --dataset mini", "unknown protocol 'sdss'; did you mean sds or idsds"),
        ("run sds --model tinny --dataset mini", "unknown model 'tinny'; did you mean tiny"),
        ("run sds --model tiny --dataset mino", "unknown dataset 'mino'; did you mean mini"),
        ("run sds --model tiny --dataset mini --methods gradcam", "unknown method 'gradcam'; did you mean grad-cam"),
        ("run sds --model tiny --dataset mini --methods rollout", "rollout needs a vision transformer; tiny is of"),
        ("run sds --dataset mini", "missing --model; see `xaibench run --help`"),
        ("show method igu", "unknown method 'igu'; did you mean ig-u"),
        ("run sds --model tiny --dataset imagefolder", "data set imagefolder needs --data-root"),
    ],
)  # fmt: skip
def test_names(words, message, untouched, call):
    polite(call(*words.split()), message)


def test_methods_that_do_not_fit_are_skipped_and_listed_under_a_default_list(home, tmp_path, call):
    said = call(*RUN, "--images", 1)
    assert (said.status, said.err) == (0, "")
    assert "skipped: rollout needs a vision transformer" in said.out
    assert len(set(table("results")["method"])) == 24


def spoil_truncated(path: Path) -> None:
    Image.effect_noise((90, 70), 50).convert("RGB").save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:-500])


def spoil_frames(path: Path) -> None:
    frames = [Image.effect_noise((90, 70), 50) for _ in range(4)]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


def spoil_huge(path: Path) -> None:
    Image.new("1", (20_000, 9_500)).save(path, "PNG")


SPOILT = {
    "truncated": (spoil_truncated, "cannot be read as an image", "truncated", "restore or remove it"),
    "16 bits": (lambda path: Image.new("I;16", (90, 70)).save(path), "has 16 bits a channel; convert it to 8-bit RGB"),
    "LAB": (lambda path: Image.new("LAB", (90, 70)).save(path, "TIFF"), "has the mode LAB", "convert it to 8-bit RGB"),
    "transparent": (lambda path: Image.new("RGBA", (90, 70)).save(path), "has transparent parts; flatten it"),
    "animated": (spoil_frames, "has 4 frames; save one of them as a still image"),
    "huge": (spoil_huge, "has more than 178 million pixels; reduce it"),
    "tiny": (lambda path: Image.new("RGB", (15, 90)).save(path), "is only 15 x 90 pixels; photos need 16"),
}


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.process if k == "truncated" else ()) for k in SPOILT]
)
def test_photos(kind, untouched, photos, weights, call):
    spoil, *message = SPOILT[kind]
    spoil(photos / "bee" / "3.png")
    workers = 2 if kind == "truncated" else 0  # as an error that comes from another process
    said = call(*PHOTOS, "--weights", weights / "two.safetensors", "--methods", "ixg", "--batch-size", 2,
                "--workers", workers)  # fmt: skip
    polite(said, "photos/bee/3.png ", *message)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ((), "photos has no class folders; photos belong in photos/CLASS/"),
        (("a.png",), "photos has no class folders; photos belong in photos/CLASS/"),
        (("ape/notes.txt",), "photos has class folders but no photos in them"),
    ],
    ids=["an empty folder", "no class folders", "an empty class folder"],
)
def test_folders(files, message, untouched, weights, call):
    Path("photos").mkdir()
    for name in files:
        Path("photos", name).parent.mkdir(exist_ok=True)
        Path("photos", name).write_text("x")
    polite(call(*PHOTOS, "--weights", weights / "two.safetensors"), message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("other.safetensors", ("do not fit tiny: missing 2.weight, 2.bias",)),
        ("nine.safetensors", ("are for 9 classes, imagefolder has 2", "--target prediction")),
        ("page.safetensors", ("are a web page, not weights: open its address in a browser",)),
        ("code.pth", ("cannot be loaded as weights only",)),
        ("", ("is a folder: name one file in it, such as ",)),
    ],
    ids=["another architecture", "another class count", "a web page", "code", "a folder"],
)  # fmt: skip
def test_weights(name, message, untouched, photos, weights, call):
    polite(call(*PHOTOS, "--weights", weights / name), *message)
    assert not (weights / "executed").exists()


PLUGIN = "import xaibench\n\n@xaibench.method('mine')\ndef mine(e):\n    "
PLUGINS = {
    "raises": ("raise RuntimeError('no\\nluck')", "method mine failed: RuntimeError: no luck"),
    "shape": ("return e.gradient()[:, :, 0]", "method mine returned shape (4, 3, 32), not (pairs, C, h, w)"),
    "list": ("return [e.gradient()]", "method mine returned list, not a tensor"),
    "integers": ("return e.gradient().long()", "method mine returned torch.int64, not floating point"),
}


@pytest.mark.parametrize("kind", PLUGINS)
def test_plugins_that_fail_leave_the_other_methods_alone(kind, untouched, call):
    body, message = PLUGINS[kind]
    Path("plugin.py").write_text(PLUGIN + body + "\n")
    said = call(*RUN, "--plugin", "plugin.py", "--methods", "mine,saliency,ixg", "--images", 4)
    polite(said, message, "the rows of the other methods are in results")
    assert "saliency" in said.out and set(table("results")["method"]) == {"ixg", "random", "saliency"}


def test_a_plugin_that_fails_while_it_is_loaded(untouched, call):
    Path("plugin.py").write_text("import xaibench\n1 / 0\n")
    polite(call(*RUN, "--plugin", "plugin.py"), "plug-in plugin.py", "ZeroDivisionError: division by zero")


def test_maps_that_cannot_be_scored_are_rows_with_a_status_and_a_warning(untouched, call):
    Path("plugin.py").write_text(PLUGIN + "return e.gradient() * float('nan')\n")
    said = call(*RUN, "--plugin", "plugin.py", "--methods", "mine,ixg", "--images", 4)
    assert said.status == 0 and "mine" in said.out
    assert said.err == "warning: 4 maps of mine are constant or not finite: sds counts them at chance level\n"
    rows = table("results").query("method == 'mine'")
    assert set(rows["status"]) == {"undefined-map"} and rows["score"].isna().all() and len(rows) == 4


def test_a_card_with_a_typo_is_named_with_file_and_line(results, home, tmp_path, call):
    own = shutil.copytree(home / "cards", tmp_path / "home" / "cards").parent
    card = own / "cards" / "methods" / "mine.toml"
    card.parent.mkdir()
    card.write_text('title = "Mine"\ntarget = "xaibench_test_network:build"\ntransfrom = "abs"\n')
    polite(call(*RUN, "--methods", "mine", XAIBENCH_HOME=own), f"{card}:3: transfrom: no such field")


def test_results_of_another_schema_version(results, call):
    shard = next((results / "rows").glob("*.parquet"))
    content = pq.read_table(shard)
    other = content.replace_schema_metadata({b"xaibench.schema": b"99"})
    pq.write_table(other, results / "rows" / "20990101T000000.000000Z-00000000.parquet")
    before = {path: path.read_bytes() for path in results.rglob("*") if path.is_file() and path.name != LOG}
    polite(call(*RUN), "has row schema 99, newer than 2 of this xaibench; update xaibench, or choose another folder")
    polite(call("status"), "has row schema 99")
    assert before == {path: path.read_bytes() for path in results.rglob("*") if path.is_file() and path.name != LOG}


@pytest.fixture
def mount(tmp_path):
    """mount(size): a small disk of its own at ./disk, for those who may mount one."""
    folder = tmp_path / "disk"
    made = []

    def make(size: str) -> Path:
        folder.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
        if done.returncode:
            pytest.skip("only root can mount a disk that is full or read-only")
        made.append(folder)
        return folder

    yield make
    for path in made:
        subprocess.run(["umount", "--lazy", path], check=True)


@pytest.mark.parametrize("calls", [0, 14])
def test_a_disk_that_is_full_after_some_files(calls, untouched, monkeypatch, call):
    fsync, handles = os.fsync, []

    def full(handle) -> None:
        handles.append(handle)
        if len(handles) > calls:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    words = (*RUN, "--methods", "ixg,saliency", "--images", 6)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        polite(call(*words), "the disk is full", "free some space", "same command again")
    assert whole() >= untouched
    if calls == 14:  # in the midst of it
        assert call(*words).status == 0 and {"ixg", "saliency", "random"} == set(table("results")["method"])


def test_a_disk_that_is_really_full(stored, home, mount, call):
    disk = mount("160k")
    folder = shutil.copytree(stored, disk / "results", ignore=shutil.ignore_patterns("figures"))
    before = whole(folder)
    with contextlib.suppress(OSError), (disk / "filling").open("wb", buffering=0) as filling:
        while True:
            filling.write(bytes(4096))
    words = (*RUN, "--methods", "saliency", "--images", 3, "--keep-maps", "--out", folder)
    polite(call(*words), "the disk is full", "free some space")
    assert whole(folder) == before
    subprocess.run(["mount", "-o", "remount,size=2m", disk], check=True)
    assert call(*words).status == 0 and before < whole(folder)


def test_a_training_on_a_full_disk_keeps_its_last_checkpoint(home, mount, call):
    disk = mount("200k")
    shutil.copytree(home / "cards", disk / "cards")
    shutil.copy(home / "xaibench_test_network.py", disk)
    words = ("train", "classifier", "--model", "tiny", "--dataset", "mini", "--epochs", 3, "--quiet")
    (disk / "filling").write_bytes(bytes(110 * 1024))
    polite(call(*words, XAIBENCH_HOME=disk), "disk", "full")
    assert not list(disk.rglob("*.part")) and not list(disk.rglob("weights.safetensors"))
    (disk / "filling").unlink()
    assert call(*words, XAIBENCH_HOME=disk).status == 0


@pytest.fixture
def read_only(mount, results):
    """The folder ./closed with these results, that nobody may write in."""
    if os.geteuid():
        folder = Path(shutil.copytree(results, "closed"))
        inside = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        for path in inside:
            path.chmod(0o555)
        yield folder
        for path in inside:
            path.chmod(0o755)
        return
    disk = mount("2m")
    folder = shutil.copytree(results, disk / "closed")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    yield Path(folder)


def test_a_read_only_folder(read_only, home, call):
    before = whole(read_only)
    polite(call(*RUN, "--methods", "saliency", "--out", read_only), f"cannot write in {read_only}", "read-only")
    assert whole(read_only) == before
    train = ("train", "classifier", "--model", "tiny", "--dataset", "mini", "--epochs", 1, "--seed", 5, "--quiet")
    shutil.copytree(home / "cards", Path("own") / "cards")
    Path("own", "models").symlink_to(read_only)
    polite(call(*train, XAIBENCH_HOME="own"), "read-only")
    show = ("show", "dataset", "mini", "--images", 1)
    polite(call(*show, "--out", read_only / "sheet.png"), f"cannot write in {read_only}", "read-only")


SLOW = """
import pathlib, time, xaibench

@xaibench.method("slow")
def slow(e):
    until = time.monotonic() + 60
    while pathlib.Path("wait").exists() and time.monotonic() < until:
        pathlib.Path("waiting").touch()
        time.sleep(0.05)
    return e.gradient()
"""
SECOND = SLOW.replace('"wait"', '"first"').replace("    return", '    pathlib.Path("first").touch()\n    return')
"""As SLOW, but it waits at the second batch."""
SLOWLY = (*RUN, "--plugin", "slow.py", "--methods", "slow,saliency", "--images", 6, "--batch-size", 2)


def wait_for(process: subprocess.Popen, sign) -> None:
    """Waits until a sign of the process is there."""
    until = time.monotonic() + 60
    while not sign():
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            pytest.fail(f"the sign never came: {end(process)}")
        time.sleep(0.01)


@pytest.fixture
def slow(results):
    Path("slow.py").write_text(SLOW)
    Path("wait").touch()
    return results


def waits() -> bool:
    return Path("waiting").exists()


@pytest.mark.slow
def test_two_runs_into_one_folder_at_once(slow, call):
    before = whole()
    first, second = start(*SLOWLY), None
    try:
        wait_for(first, waits)
        other = end(start(*RUN, "--methods", "ixg", "--images", 6))  # other results are computed at the same time
        assert (other.status, other.err) == (0, "")
        stored = whole()
        second = start(*SLOWLY)
        line = second.stderr.readline()
        assert "waiting for 6 images that are being computed by process" in line and f" {first.pid}, started 20" in line
        assert "--methods slow,saliency" in line
        assert whole() == stored, "what another process computes is left to it"
        first.kill()  # the locks go with the process
        end(first)
        Path("wait").unlink()
        said = end(second)
        assert (said.status, said.err) == (0, "")
    finally:
        for process in (first, second):
            if process and process.poll() is None:
                process.kill()
                end(process)
    assert before < whole() and len(table("results")) == 4 + 6 + 6 + 6
    assert "nothing is missing" in call("status").out


@pytest.mark.slow
def test_two_trainings_of_the_same_at_once(home, call):
    from xaibench.locks import claim
    from xaibench.training.api import plan_training
    from xaibench.training.config import TrainingConfig

    training = plan_training(TrainingConfig(model="tiny", dataset="mini", seed=3))
    words = ("train", "classifier", "--model", "tiny", "--dataset", "mini", "--seed", 3, "--quiet")
    with claim(training.path.parent, ["training"], "xaibench train it", ""):
        doing = (
            f"the same plain tiny on mini is being trained in {training.path.parent} right now by process {os.getpid()}"
        )
        polite(end(start(*words)), doing, "wait until it ends and give the same command again")
    assert call(*words).status == 0 and training.path.is_file()
    shutil.rmtree(training.path.parent)  # these weights are not for other tests


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_ctrl_c_in_an_evaluation(workers, slow, call):
    before = whole()
    process = start(*SLOWLY, "--workers", workers)
    wait_for(process, waits)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the loading processes get it too
    polite(end(process), INTERRUPTED, status=130)
    assert before <= whole()
    assert "interrupted" in call("status").out
    Path("wait").unlink()
    said = call(*SLOWLY, "--workers", workers)
    assert (said.status, said.err) == (0, "")
    assert before < whole() and len(table("results")) == 8 + 12


@pytest.mark.parametrize("number", [signal.SIGHUP, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_batch_systems_and_closed_terminals_end_an_evaluation(number, workers, slow, call):
    """They signal every process of a job, some of them twice; what is computed is stored, as at Ctrl-C."""
    before = whole()
    Path("slow.py").write_text(SECOND)
    process = start(*SLOWLY, "--workers", workers)
    wait_for(process, waits)
    for _ in range(2):
        os.killpg(process.pid, number)
    polite(end(process), f"ended by {number.name}; {STORED}", status=128 + number)
    assert before < whole() and len(table("results")) == 8 + 4  # the two images that were computed, at once
    assert "interrupted" in call("status").out


@pytest.mark.slow
def test_a_command_started_by_nohup_outlives_its_terminal(slow, call):
    process = subprocess.Popen(
        [sys.executable, "-m", "xaibench", *map(str, SLOWLY)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ["XAIBENCH_HOME"]])}, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    wait_for(process, waits)
    os.killpg(process.pid, signal.SIGHUP)
    Path("wait").unlink()
    assert end(process).status == 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_in_a_training(workers, home, call):
    known = set(home.glob("models/*"))
    epochs = 15
    words = ("train", "classifier", "--model", "tiny", "--dataset", "mini", "--epochs", epochs, "--quiet")
    process = start(*words, "--workers", workers)
    wait_for(process, lambda: [p for p in home.glob("models/*/checkpoint/history.json") if p.parents[1] not in known])
    os.killpg(process.pid, signal.SIGINT)
    polite(end(process), INTERRUPTED, status=130)
    (folder,) = set(home.glob("models/*")) - known
    assert not (folder / "weights.safetensors").exists()
    assert call(*words, "--workers", workers).status == 0
    metrics = pd.read_parquet(folder / "metrics.parquet")
    assert metrics["epoch"].tolist() == list(range(1, epochs + 1))
    kept = {"weights.safetensors", "metrics.parquet", "training.lock", "training.toml"}
    assert {path.name for path in folder.iterdir()} == kept
    shutil.rmtree(folder)  # these weights are not for other tests


STARTING = """
import os, pathlib, sys, time

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["SLOW_IMPORT"]:
            pathlib.Path("waiting").touch()
            time.sleep(60)

sys.meta_path.insert(0, Slow())
"""


@pytest.mark.slow
@pytest.mark.parametrize("module", ["typer", "torch.nn", "pandas"])
def test_ctrl_c_while_it_starts(module, untouched):
    Path("sitecustomize.py").write_text(STARTING)
    process = start(*RUN, "--methods", "saliency", path=Path.cwd(), SLOW_IMPORT=module)
    wait_for(process, waits)
    os.killpg(process.pid, signal.SIGINT)
    said = end(process)
    # Python ends by the signal itself where it came inside of exec(), as in a namedtuple; shells call both 130
    polite(said._replace(status=130) if said.status == -signal.SIGINT else said, INTERRUPTED, status=130)


def test_a_closed_pipe_is_silence(home):
    process = start("ls", "methods")
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 141
    process.stderr.close()


def test_defects_keep_their_traceback(home):
    text = "import xaibench.registry as r\ndef names(*a): raise RuntimeError('a defect')\nr.names = names\n"
    Path("sitecustomize.py").write_text(text)
    said = end(start("ls", "methods", path=Path.cwd()))
    assert said.status == 1 and "Traceback" in said.err and "RuntimeError: a defect" in said.err
