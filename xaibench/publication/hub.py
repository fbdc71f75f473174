"""Pushes a board folder to a data set repository of the Hugging Face Hub, in one commit."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xaibench.errors import XaibenchError, one_line
from xaibench.publication.folder import OWN, own_files
from xaibench.publication.index import read_index
from xaibench.publication.sums import require_unchanged

TOKEN = "HF_TOKEN"
ENDPOINT = "HF_ENDPOINT"
NO_XET = "HF_HUB_DISABLE_XET"
ADVICE = {
    401: f"the Hub does not accept the token in {TOKEN}; make one with write access, in the settings of your account",
    403: f"the token in {TOKEN} may not write there; take one with write access to it, or name another repository",
    404: f"there is no such repository that the token in {TOKEN} may see",
    409: "another change of it is under way; give the same command again",
    412: "it was changed meanwhile; give the same command again",
    429: "too many requests; give the same command again in a few minutes",
}


def push(root: Path, repository: str, private: bool | None = None) -> str:
    """Pushes a board folder to a data set repository, which is made where there is none, and returns its address.

    One commit adds what is new and deletes what the folder no longer has, so that readers see the old version or the
    new one; files of others in the repository stay. private: whether a new repository is; None leaves it to the Hub.
    The token is that of HF_TOKEN in the environment, and the Hub that of HF_ENDPOINT. Large files go by LFS over HTTP;
    HF_HUB_DISABLE_XET=0 lets the client use Xet, where `hf_xet` is installed. Raises XaibenchError in one line for
    anything that the Hub refuses, and for a folder that was changed since it was published.
    """
    index = read_index(root)
    require_unchanged(root)
    api = _api()
    with _one_line(repository, root), _by_lfs():
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        address = api.create_repo(repository, repo_type="dataset", private=private, exist_ok=True)
        name = address.repo_id
        before = api.repo_info(name, repo_type="dataset").sha
        there = set(api.list_repo_files(name, repo_type="dataset"))
        files = own_files(root)
        stale = sorted(path for path in there - files.keys() if path.split("/")[0] in OWN)
        operations: list[Any] = [CommitOperationDelete(path_in_repo=path, is_folder=False) for path in stale]
        operations += [CommitOperationAdd(path_in_repo=path, path_or_fileobj=file) for path, file in files.items()]
        api.create_commit(
            name, operations, commit_message=f"Version {index.version}", repo_type="dataset", parent_commit=before
        )
    return str(address)


def _api() -> Any:
    """The client of the Hub; raises XaibenchError where its package or a token is missing."""
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise XaibenchError("--hub needs huggingface_hub; install it with: pip install 'xaibench[hub]'") from error
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise XaibenchError(f"--hub needs a token with write access in the environment: {TOKEN}=...")
    return HfApi(endpoint=os.environ.get(ENDPOINT) or None, token=token)


@contextmanager
def _by_lfs() -> Iterator[None]:
    """While the block uploads, files go by LFS, of which the tests have a stand-in, unless the environment sets the
    client's switch. The client reads that variable once, when it is imported, so its constant is set."""
    from huggingface_hub import constants

    before = constants.HF_HUB_DISABLE_XET
    constants.HF_HUB_DISABLE_XET = before or NO_XET not in os.environ
    try:
        yield
    finally:
        constants.HF_HUB_DISABLE_XET = before


@contextmanager
def _one_line(repository: str, root: Path) -> Iterator[None]:
    """While the block talks to the Hub, whatever it refuses is one line, without the token."""
    try:
        yield
    except XaibenchError:
        raise
    except Exception as error:  # transports of several libraries, which have no other base in common
        status = _status(error)
        known = ADVICE.get(status or 0) or ("the Hub has an error; try again later" if (status or 0) >= 500 else "")
        said = one_line(error, 300).replace(os.environ[TOKEN].strip(), "...")
        what = f"{status}: {known}" if known else said or type(error).__name__
        raise XaibenchError(f"not pushed to {repository}: {what}; {root} is written") from error


def _status(error: BaseException | None) -> int | None:
    """The HTTP status of an error, or of what it was raised from."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__
    return None
