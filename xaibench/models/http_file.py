"""One file over HTTP, into a temporary file: taken up again where the connection broke, with a limit of its size."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from xaibench.errors import XaibenchError
from xaibench.progress import bar

CHUNK = 1 << 20
MOST = 64 << 30  # bytes of a file
ATTEMPTS = 4
WAIT_SECONDS = 1.0  # before the second attempt, twice as long before each further one
SCHEMES = ("https", "http")
BROKEN = (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError)


class Short(ConnectionError):
    """A connection ended before the whole file had come."""


@dataclass
class Known:
    """What is known of a file while it is fetched: its length in bytes (0: unknown), a strong ETag by which the server
    tells versions, the sha256 that a hub announces, and whether the server sends parts."""

    total: int = 0
    etag: str = ""
    sha256: str = ""
    parts: bool = False


def receive(url: str, part: Path, title: str, hashed: bool) -> Known:
    """Fetches a file into `part`, from where that ends if it is there and the server sends parts.

    hashed: whether the caller compares a hash, without which parts are joined only where the server tells versions.
    Raises XaibenchError for an address that is not https or http, for more than MOST bytes, and where the end of the
    file could not be told; errors of urllib and OSError as they are.
    """
    _check_scheme(url)
    known = Known()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _go_on(url, part, title, known, hashed)
            return known
        except BROKEN as error:
            again = known.parts and (hashed or known.etag) and not isinstance(error, urllib.error.HTTPError)
            if not again or attempt == ATTEMPTS:
                raise
        time.sleep(WAIT_SECONDS * 2 ** (attempt - 1))
    return known


def _go_on(url: str, part: Path, title: str, known: Known, hashed: bool) -> None:
    """One connection: what it sends is added to the file, or replaces it where the server begins anew."""
    there = part.stat().st_size if part.exists() and (hashed or known.etag) else 0
    headers = {"User-Agent": "xaibench", "Accept-Encoding": "identity"}
    if there:
        headers |= {"Range": f"bytes={there}-"} | ({"If-Range": known.etag} if known.etag else {})
    redirects = _Redirects()
    request = urllib.request.Request(url, headers=headers)
    try:
        reply = urllib.request.build_opener(redirects).open(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE or not there:
            raise
        part.unlink()  # longer than the file is now
        return _go_on(url, part, title, known, hashed)
    with reply:
        tag = tag if (tag := reply.headers.get("ETag", "")).startswith('"') else ""
        known.total, there = (
            (_whole_of_part(url, known, reply.headers, there, tag), there)
            if reply.status == http.client.PARTIAL_CONTENT
            else (_length(url, reply.headers), 0)
        )
        known.sha256 = redirects.sha256 or known.sha256
        known.parts = bool(there) or reply.headers.get("Accept-Ranges", "").strip().lower() == "bytes"
        known.etag = tag
        _check_length(url, known, reply, hashed)
        with part.open("ab" if there else "wb") as file:
            done = there
            with bar(f"downloading {title} (MiB)", -(-known.total // CHUNK)) as progress:
                progress.advance(there // CHUNK)
                while block := reply.read(CHUNK):
                    file.write(block)
                    done += len(block)
                    if done > MOST:
                        raise XaibenchError(f"{url} sent more than {MOST >> 30} GiB; no such file is expected")
                    progress.advance(1)
    if done < known.total:
        raise Short(f"{url} sent {done} of {known.total} bytes; try again")
    return None


def _check_length(url: str, known: Known, reply: Any, hashed: bool) -> None:
    """Raises XaibenchError for a reply that is too long, or of which it could not be told whether all of it came."""
    if known.total > MOST:
        raise XaibenchError(
            f"{url} announces {known.total} bytes, more than {MOST >> 30} GiB; no such file is expected"
        )
    if not (known.total or reply.chunked or hashed or known.sha256):
        raise XaibenchError(
            f"{url} does not say how long the file is, and no hash of it is known, so it cannot be told whether all of "
            "it came; fetch it in another way, and pass it by --weights"
        )


def _length(url: str, headers: Message) -> int:
    """The length in bytes that a reply announces, 0 for none; XaibenchError for several lengths, or what is none."""
    lengths = set(headers.get_all("Content-Length", ["0"]))
    length = lengths.pop().strip()
    if lengths or not (length.isascii() and length.isdecimal()) or len(length) > 18:
        raise XaibenchError(
            f"{url} does not say rightly how long the file is (Content-Length); fetch it in another way"
        )
    return int(length)


def _whole_of_part(url: str, known: Known, headers: Message, there: int, tag: str) -> int:
    """The length in bytes of the whole file of which a reply is a part; raises XaibenchError where the part is not the
    one that was asked for, or of another version."""
    sent = re.fullmatch(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", headers.get("Content-Range", "").strip(), re.ASCII)
    first, last, total = map(int, sent.groups()) if sent else (-1, -1, -1)
    if not there or first != there or last >= total or known.total not in (0, total):
        raise XaibenchError(f"{url} sent another part of the file than was asked for; try again")
    if known.etag and tag != known.etag:
        raise XaibenchError(f"{url} has changed while it was fetched; try again")
    return total


def _check_scheme(url: str, before: str = "") -> None:
    """Raises XaibenchError for an address that is not https or http, or http after https."""
    scheme = urllib.parse.urlsplit(url).scheme.lower()
    if scheme not in SCHEMES:
        raise XaibenchError(f"cannot download {url}: its address begins with none of https:// and http://")
    if scheme == "http" and urllib.parse.urlsplit(before).scheme.lower() == "https":
        raise XaibenchError(f"cannot download {before}: it leads to {url}, which is not encrypted")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, and records the sha256 of the file from the header `X-Linked-Etag`; "" where there is none."""

    sha256 = ""

    def redirect_request(self, req, fp, code, msg, headers, newurl) -> urllib.request.Request | None:
        _check_scheme(newurl, req.full_url)
        announced = re.fullmatch(r'"?([0-9a-fA-F]{64})"?', headers.get("X-Linked-Etag", ""))
        self.sha256 = announced[1].lower() if announced else self.sha256
        return super().redirect_request(req, fp, code, msg, headers, newurl)
