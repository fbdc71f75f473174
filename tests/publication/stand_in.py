"""A stand-in of the Hub's HTTP interface on this machine: repositories as dicts from path to bytes.

It speaks what `huggingface_hub` asks when it makes a repository, lists it and commits to it: create, info, tree,
validation of the card, preupload, LFS batches for binary files, and commits of several operations.
"""

from __future__ import annotations

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

BINARY = (".parquet", ".safetensors", ".png")


class Hub(ThreadingHTTPServer):
    """repositories: files by path, by name; visibility of each; commits: messages. errors: the status with which to
    answer a kind of request (`create`, `info`, `tree`, `preupload`, `commit`). seen: method, path and token of each
    request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.visibility: dict[str, Any] = {}
        self.commits: list[dict[str, Any]] = []
        self.objects: dict[str, bytes] = {}
        self.errors: dict[str, int] = {}
        self.seen: list[tuple[str, str, str]] = []
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def head(self) -> str:
        return hashlib.sha1(str(len(self.commits)).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *words: Any) -> None:
        pass

    def do_GET(self) -> None:
        parts = self._begin(b"")
        if parts[:2] == ["api", "datasets"]:
            name = "/".join(parts[2:4])
            kind = "tree" if "tree" in parts else "info"
            if name not in self.server.repositories:
                return self._answer({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return self._unless(kind, self._tree(name) if kind == "tree" else self._info(name))
        return self._answer({"error": "not found"}, 404)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = self._begin(body)
        if parts == ["api", "repos", "create"]:
            return self._create(json.loads(body))
        if parts[-1] == "validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if "preupload" in parts:
            return self._unless("preupload", self._modes(json.loads(body)))
        if parts[-2:] == ["objects", "batch"]:
            return self._answer(self._batch(json.loads(body)))
        if "commit" in parts:
            return self._commit("/".join(parts[2:4]), body)
        return self._answer({}, 404)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        oid = self._begin(body)[-1]
        assert hashlib.sha256(body).hexdigest() == oid
        self.server.objects[oid] = body
        self._answer({})

    def _begin(self, body: bytes) -> list[str]:
        path = unquote(urlsplit(self.path).path)
        self.server.seen.append((self.command, path, self.headers.get("Authorization", "")))
        return path.strip("/").split("/")

    def _create(self, asked: dict[str, Any]) -> None:
        assert asked["type"] == "dataset"
        name = f"{asked['organization']}/{asked['name']}"
        if "create" in self.server.errors:
            return self._unless("create", {})
        url = {"url": f"{self.server.address}/datasets/{name}"}
        if name in self.server.repositories:
            return self._answer(url, 409)
        self.server.repositories[name] = {".gitattributes": b"*.parquet filter=lfs"}
        self.server.visibility[name] = asked.get("visibility", asked.get("private"))
        return self._answer(url)

    def _info(self, name: str) -> dict[str, Any]:
        siblings = [{"rfilename": path} for path in self.server.repositories[name]]
        return {"id": name, "sha": self.server.head, "siblings": siblings, "tags": [], "private": False}

    def _tree(self, name: str) -> list[dict[str, Any]]:
        files = self.server.repositories[name].items()
        return [{"type": "file", "path": path, "size": len(data), "oid": _blob(data)} for path, data in files]

    def _modes(self, asked: dict[str, Any]) -> dict[str, Any]:
        modes = [
            {"path": one["path"], "uploadMode": "lfs" if one["path"].endswith(BINARY) else "regular",
             "shouldIgnore": False, "oid": None} for one in asked["files"]
        ]  # fmt: skip
        return {"files": modes}

    def _batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        objects = [
            {"oid": one["oid"], "size": one["size"]}
            | ({} if one["oid"] in self.server.objects
               else {"actions": {"upload": {"href": f"{self.server.address}/objects/{one['oid']}"}}})
            for one in asked["objects"]
        ]  # fmt: skip
        return {"transfer": "basic", "objects": objects}

    def _commit(self, name: str, body: bytes) -> None:
        if "commit" in self.server.errors:
            return self._unless("commit", {})
        lines = [json.loads(line) for line in body.splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, self.server.head):
            return self._answer({"error": "the head is another"}, 412)
        files = self.server.repositories[name]
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            else:
                assert line["key"] == "deletedFile"
                del files[value["path"]]
        self.server.commits.append(header)
        return self._answer({"commitUrl": f"{self.server.address}/datasets/{name}/commit/{self.server.head}",
                             "commitOid": self.server.head})  # fmt: skip

    def _unless(self, kind: str, answer: Any) -> None:
        status = self.server.errors.get(kind, 200)
        self._answer(answer if status == 200 else {"error": f"refused with {status}"}, status)

    def _answer(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)


def _blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
