"""Fetching published weights: only with --download, checked, completely or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import urllib.parse
from pathlib import Path

from xaibench.cards import PublishedWeights
from xaibench.errors import XaibenchError
from xaibench.files import make_folder, obstacle, write_atomic
from xaibench.hashing import sha256_of
from xaibench.home import home
from xaibench.leftovers import adopt, temporary
from xaibench.models.file_kinds import HEAD, kind_of_head
from xaibench.models.http_file import BROKEN, Known, Short, receive


def stored_at(url: str) -> Path:
    """The place of the file of a URL: under its own name, in a folder of this URL alone, since hubs name every file
    `model.safetensors`."""
    folder = hashlib.sha256(url.encode()).hexdigest()[:12]
    return home() / "downloads" / folder / Path(urllib.parse.urlsplit(url).path).name


def address(weights: PublishedWeights) -> tuple[str, str]:
    """URL and (beginning of the) sha256 of published weights; torchvision's file names end in that beginning."""
    if not weights.enum:
        return weights.url, weights.sha256
    from xaibench.models.torchvision_cnn import weights_url

    url = weights_url(weights.enum)
    return url, url.rsplit("-", 1)[-1].removesuffix(".pth")


def fetch(url: str, path: Path, sha256: str = "") -> Path:
    """The file at `path`, downloaded from a URL if it does not exist yet.

    sha256 is the hash of the file or the beginning of it; with "" the hash is used that the server sends with a
    redirect, as Hugging Face does. A connection that breaks off is taken up again, also by the next command where
    sha256 is given. The hash of what came is stored beside it as `<name>.sha256`, and the file is compared with it
    whenever it is asked for. Shows a bar in MiB. Raises XaibenchError, and leaves no file, when the server refuses,
    sends a web page or something else that is known to be no weights, less than it announced, or neither a length nor
    a hash, when the hash differs, and for what `receive` refuses; and where the file cannot be written.
    """
    sha256 = sha256.lower()
    if path.is_file():
        return _compared(url, path, sha256)
    part = (adopt(path) if sha256 else None) or temporary(path, ".part")
    make_folder(path.parent)
    keep = False
    try:
        known = receive(url, part, path.name, bool(sha256))
        digest = _check(url, part, known, sha256)
        write_atomic(_noted(path), f"{digest}\n".encode())
        part.replace(path)
    except Short as error:
        keep = bool(sha256)
        raise XaibenchError(str(error)) from error
    except (*BROKEN, ValueError) as error:
        keep = bool(sha256)
        raise XaibenchError(f"cannot download {url}: {getattr(error, 'reason', error)}") from error
    except KeyboardInterrupt:
        keep = bool(sha256)
        raise
    except OSError as error:
        raise obstacle(error, path) from error
    finally:
        if not keep:  # what stays is taken up by the next command, or swept by it
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
    return path


def _check(url: str, part: Path, known: Known, sha256: str) -> str:
    """The sha256 of what came; raises XaibenchError where it is not what was asked for."""
    with part.open("rb") as file:
        if kind := kind_of_head(file.read(HEAD)):
            raise XaibenchError(f"{url} sent {kind}; then pass it by --weights")
    digest = sha256_of(part)
    if not digest.startswith(sha256):
        raise XaibenchError(f"{url} has sha256 {digest[:16]}..., the card has {sha256[:16]}...; do not use it")
    if not sha256 and known.sha256 and digest != known.sha256:
        raise XaibenchError(
            f"{url} sent sha256 {digest[:16]}..., the server announced {known.sha256[:16]}...; try again"
        )
    return digest


def _compared(url: str, path: Path, sha256: str) -> Path:
    """A stored file, if it is still the one that came; raises XaibenchError where its hash is another."""
    noted = _noted(path)
    wanted = noted.read_text("utf-8").strip().lower() if noted.is_file() else sha256
    wanted = wanted if wanted.startswith(sha256) else sha256
    if wanted and not sha256_of(path).startswith(wanted):
        raise XaibenchError(
            f"{path} is no longer the file of {url}: its hash is another; remove it, and fetch it again"
        )
    return path


def _noted(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
