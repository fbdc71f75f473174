"""Fetching published weights: only with --download, once, checked, completely or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from xaibench.cards import PublishedWeights
from xaibench.errors import XaibenchError
from xaibench.files import make_folder, obstacle
from xaibench.home import home
from xaibench.leftovers import temporary
from xaibench.models.file_kinds import kind_of_head
from xaibench.progress import bar

CHUNK = 1 << 20


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
    redirect, as Hugging Face does, and nothing is checked if it sends none. Shows a bar in MiB. Raises XaibenchError,
    and leaves no file, when the server refuses, sends a web page or something else that is known to be no weights,
    sends less than it announced, the hash differs, or the file cannot be written.
    """
    if path.is_file():
        return path
    make_folder(path.parent)
    part = temporary(path, ".part")  # two processes may fetch the same file
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "xaibench"})
        redirects = _Redirects()
        opener = urllib.request.build_opener(redirects)
        with opener.open(request, timeout=60) as reply, part.open("wb") as file:
            digest, head, done = hashlib.sha256(), b"", 0
            total = int(reply.headers.get("Content-Length") or 0)
            with bar(f"downloading {path.name} (MiB)", -(-total // CHUNK)) as progress:
                while block := reply.read(CHUNK):
                    head = head or block[:512]
                    digest.update(block)
                    file.write(block)
                    done += len(block)
                    progress.advance(1)
        _check(url, head, done, total, digest.hexdigest(), sha256, redirects.sha256)
        part.replace(path)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        raise XaibenchError(f"cannot download {url}: {getattr(error, 'reason', error)}") from error
    except OSError as error:
        raise obstacle(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return path


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and records the sha256 of the file from the header `X-Linked-Etag`; "" where there is none."""

    sha256 = ""

    def redirect_request(self, req, fp, code, msg, headers, newurl) -> urllib.request.Request | None:
        announced = re.fullmatch(r'"?([0-9a-f]{64})"?', headers.get("X-Linked-Etag", ""))
        self.sha256 = announced[1] if announced else self.sha256
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _check(url: str, head: bytes, done: int, total: int, digest: str, sha256: str, announced: str) -> None:
    if kind := kind_of_head(head):
        raise XaibenchError(f"{url} sent {kind}; then pass it by --weights")
    if total and done < total:
        raise XaibenchError(f"{url} sent {done} of {total} bytes; try again")
    if not digest.startswith(sha256):
        raise XaibenchError(f"{url} has sha256 {digest[:16]}..., the card has {sha256[:16]}...; do not use it")
    if not sha256 and announced and digest != announced:
        raise XaibenchError(f"{url} sent sha256 {digest[:16]}..., the server announced {announced[:16]}...; try again")
