"""A small server of datasets on this machine: the few endpoints of Hugging Face's hub that gmlight needs."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_tests"
_LARGE = (".parquet", ".safetensors")  # uploaded by themselves, as with git-lfs
_INFO = r"/api/datasets/([^/]+/[^/]+)(?:/revision/([^/]+))?"
_FILE = r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.+)"


@dataclass
class Repository:
    """A repository of datasets.

    Args:
        private: whether reading it needs the token.
        commits: the files of each commit, by its hash; the last one is the branch `main`.
        sizes: sizes that the server claims for files, by path.
    """

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)

    @property
    def head(self) -> str:
        """The newest commit."""
        return list(self.commits)[-1]

    def add(self, files: dict[str, bytes]) -> str:
        """Adds a commit with these files besides those of the one before."""
        before = self.commits[self.head] if self.commits else {}
        text = f"{len(self.commits)} {sorted(files)}"
        commit = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self.commits[commit] = before | files
        return commit

    def find(self, revision: str | None) -> str | None:
        """Returns the commit that a revision names; None if there is none."""
        return self.head if revision in (None, "main") else revision if revision in self.commits else None


@dataclass
class Hub:
    """What the server has, and what it was asked.

    Args:
        address: of the server.
        repositories: by name.
        asked: method and path of each request.
    """

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextlib.contextmanager
def serve_hub() -> Iterator[Hub]:
    """Serves an empty hub on a free port in the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._begin()
        if found := re.fullmatch(_INFO, self.route):
            self._info(*found.groups())
        elif found := re.fullmatch(_FILE, self.route):
            self._file(*found.groups())
        else:
            self._answer(404, {"error": "no such endpoint"})

    do_HEAD = do_GET  # noqa: N815

    def do_PUT(self) -> None:
        self._begin()
        self.hub.large[self.route.rpartition("/")[2]] = self.body
        self._answer(200, {})

    def do_POST(self) -> None:
        self._begin()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._answer(401, {"error": "Invalid username or password."})
        elif self.route == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif self.route == "/api/repos/create":
            self._create(json.loads(self.body))
        elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/preupload/main", self.route):
            files = [{"path": file["path"]} for file in json.loads(self.body)["files"]]
            modes = {True: "lfs", False: "regular"}
            rest: Any = {"shouldIgnore": False, "oid": None}
            answer = [each | rest | {"uploadMode": modes[each["path"].endswith(_LARGE)]} for each in files]
            self._answer(200, {"files": answer})
        elif self.route.endswith(".git/info/lfs/objects/batch"):
            self._answer(
                200,
                {"transfer": "basic", "objects": list(map(self._action, json.loads(self.body)["objects"]))},
            )
        elif found := re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/commit/main", self.route):
            self._commit(found[1], list(map(json.loads, self.body.splitlines())))
        else:
            self._answer(404, {"error": "no such endpoint"})

    def _begin(self) -> None:
        self.route = self.path.partition("?")[0]
        self.hub.asked.append((self.command, self.route))
        if self.headers.get("Transfer-Encoding") == "chunked":
            self.body = b""
            while size := int(self.rfile.readline(), 16):
                self.body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _readable(self, name: str) -> Repository | None:
        repository = self.hub.repositories.get(name)
        allowed = repository and (
            not repository.private or self.headers.get("Authorization") == f"Bearer {TOKEN}"
        )
        if not allowed:  # as the hub does, which does not tell strangers what exists
            self._answer(401, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            return None
        return repository

    def _info(self, name: str, revision: str | None) -> None:
        if repository := self._readable(name):
            commit = repository.find(revision)
            files = repository.commits.get(str(commit), {})
            names = [{"rfilename": file} for file in files]
            self._answer(200, {"id": name, "sha": commit, "private": repository.private, "siblings": names})

    def _file(self, name: str, revision: str, path: str) -> None:
        repository = self._readable(name)
        if repository is None:
            return
        commit = repository.find(revision)
        if commit is None:
            self._answer(404, {"error": "Invalid rev id"}, {"X-Error-Code": "RevisionNotFound"})
            return
        content = repository.commits[commit].get(path)
        if content is None:
            headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
            self._answer(404, {"error": "Entry not found"}, headers)
            return
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        if path in repository.sizes:
            headers["X-Linked-Size"] = str(repository.sizes[path])
        self._answer(200, content, headers)

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization']}/{asked['name']}"
        if name in self.hub.repositories:
            self._answer(409, {"error": "You already created this dataset repo"})
            return
        private = asked.get("visibility", "private" if asked.get("private") else "public") == "private"
        self.hub.repositories[name] = repository = Repository(private)
        repository.add({".gitattributes": b"*.parquet filter=lfs\n"})
        self._answer(200, {"url": f"{self.hub.address}/datasets/{name}"})

    def _action(self, asked: dict[str, Any]) -> dict[str, Any]:
        actions = {"upload": {"href": f"{self.hub.address}/upload/{asked['oid']}"}}
        return {"oid": asked["oid"], "size": asked["size"], "actions": actions}

    def _commit(self, name: str, lines: list[dict[str, Any]]) -> None:
        repository = self.hub.repositories[name]
        if lines[0]["value"].get("parentCommit") not in (None, repository.head):
            self._answer(412, {"error": "A commit has happened since."})
            return
        files = {}
        for line in lines[1:]:
            value = line["value"]
            large = line["key"] == "lfsFile"
            files[value["path"]] = (
                self.hub.large[value["oid"]] if large else base64.b64decode(value["content"])
            )
        commit = repository.add(files)
        address = f"{self.hub.address}/datasets/{name}/commit/{commit}"
        self._answer(200, {"success": True, "commitOid": commit, "commitUrl": address})

    def _answer(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the log of requests off the terminal."""
