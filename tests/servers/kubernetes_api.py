"""A small API server of Kubernetes in this process: discovery, server-side apply, status, watches, pods' logs.

It answers in the words and codes of the real one. What it lacks: schemas, admission, several versions of a kind.
"""

import copy
import json
import threading
import urllib.parse
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KINDS = {
    "/api/v1": [
        ("configmaps", "ConfigMap"),
        ("pods", "Pod"),
        ("pods/log", "Pod"),
        ("services", "Service"),
        ("nodes", "Node"),
    ],
    "/apis/ray.io/v1": [("rayservices", "RayService"), ("rayservices/status", "RayService")],
    "/apis/policy/v1": [("poddisruptionbudgets", "PodDisruptionBudget")],
    "/apis/networking.k8s.io/v1": [("networkpolicies", "NetworkPolicy")],
}
Key = tuple[str, str]
Answer = tuple[int, dict[str, str], Any]


@dataclass(slots=True)
class Cluster:
    """The state, and what tests plant: answers that are given first, and how far back watches can go."""

    token: str = "good"  # noqa: S105  of a server in this process
    planted: list[Answer] = field(default_factory=list)
    objects: dict[Key, dict[str, Any]] = field(default_factory=dict)
    owners: dict[Key, dict[str, str]] = field(default_factory=dict)
    events: list[tuple[int, str, Key, dict[str, Any]]] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    version: int = 100
    oldest: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)

    def store(self, key: Key, value: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a new state of an object, as version and event."""
        with self.changed:
            self.version += 1
            kind = "MODIFIED" if key in self.objects else "ADDED"
            kept = copy.deepcopy(dict(value))
            kept["metadata"] = {**kept["metadata"], "resourceVersion": str(self.version)}
            self.objects[key] = kept
            self.events.append((self.version, kind, key, copy.deepcopy(kept)))
            self.changed.notify_all()
            return kept

    def delete(self, key: Key) -> None:
        """Remove an object."""
        with self.changed:
            self.version += 1
            self.events.append((self.version, "DELETED", key, self.objects.pop(key)))
            self.changed.notify_all()

    def set_status(self, name: str, **status: Any) -> None:
        """What the operator does."""
        key = ("rayservices", name)
        self.store(key, {**self.objects[key], "status": status})

    def apply(self, key: Key, given: dict[str, Any], *, owner: str, force: bool, is_rehearsal: bool) -> Answer:
        """Server-side apply: fields that another owner set otherwise are a conflict."""
        before = self.objects.get(key, {})
        old, owners = dict(_leaves(before.get("spec", before.get("data", {})))), dict(self.owners.get(key, {}))
        new = dict(_leaves(given.get("spec", given.get("data", {}))))
        taken = sorted(
            path for path, value in new.items() if owners.get(path, owner) != owner and old.get(path) != value
        )
        if taken and not force:
            message = f'Apply failed with {len(taken)} conflict(s): conflict with "{owners[taken[0]]}": .{taken[0]}'
            return 409, {}, _status(409, message)
        if is_rehearsal:
            return 200, {}, given
        self.owners[key] = {**{p: o for p, o in owners.items() if o != owner}, **dict.fromkeys(new, owner)}
        made = {**before, **given, "metadata": {**before.get("metadata", {}), **given["metadata"]}}
        is_changed = before.get("spec") != given.get("spec")
        made["metadata"]["generation"] = before.get("metadata", {}).get("generation", 0) + is_changed
        return 200, {}, self.store(key, made)


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{path}.{key}".lstrip("."))
    else:
        yield path, value


def _status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    cluster: Cluster

    def log_message(self, *_: object) -> None:
        pass

    def _say(self, code: int, headers: Mapping[str, str], body: Any) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(code)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _asked(self) -> tuple[list[str], dict[str, str]]:
        parts = urllib.parse.urlsplit(self.path)
        return parts.path.split("/"), dict(urllib.parse.parse_qsl(parts.query))

    def _is_refused(self) -> bool:
        self.cluster.requests.append(f"{self.command} {self.path}")
        if self.headers["Authorization"] != f"Bearer {self.cluster.token}":
            self._say(401, {}, _status(401, "Unauthorized"))
            return True
        if self.cluster.planted:
            self._say(*self.cluster.planted.pop(0))
            return True
        return False

    def do_GET(self) -> None:
        if self._is_refused():
            return
        path = urllib.parse.urlsplit(self.path).path
        if path in KINDS:
            resources = [{"name": name, "kind": kind, "namespaced": kind != "Node"} for name, kind in KINDS[path]]
            self._say(200, {}, {"kind": "APIResourceList", "resources": resources})
            return
        parts, query = self._asked()
        if parts[-1] == "nodes":
            parts = [*parts[:-1], "namespaces", "", "nodes"]
        if "namespaces" not in parts:
            self._say(404, {}, _status(404, "the server could not find the requested resource"))
            return
        plural, *name = parts[parts.index("namespaces") + 2 :]
        if query.get("watch"):
            self._watch(plural, query)
        elif name[1:] == ["log"]:
            self._say(200, {}, self.cluster.logs[name[0]])
        elif name:
            found = self.cluster.objects.get((plural, name[0]))
            missing = _status(404, f'{plural} "{name[0]}" not found')
            self._say(200 if found else 404, {}, found or missing)
        else:
            items = [value for (kind, _), value in self.cluster.objects.items() if kind == plural]
            self._say(200, {}, {"items": items, "metadata": {"resourceVersion": str(self.cluster.version)}})

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._is_refused():
            return
        parts, query = self._asked()
        plural, name, *sub = parts[parts.index("namespaces") + 2 :]
        key = (plural, name)
        if self.headers["Content-Type"] == "application/apply-patch+yaml":
            flags = {"force": query["force"] == "true", "is_rehearsal": query.get("dryRun") == "All"}
            self._say(*self.cluster.apply(key, body, owner=query["fieldManager"], **flags))
        elif sub == ["status"] and self.headers["Content-Type"] == "application/json-patch+json":
            changed = copy.deepcopy(self.cluster.objects[key])
            for change in body:
                *place, last = change["path"].strip("/").split("/")
                inner: Any = changed
                for part in place:
                    inner = inner[part]
                del inner[last]
            self._say(200, {}, self.cluster.store(key, changed))
        else:
            self._say(415, {}, _status(415, f"unsupported media type {self.headers['Content-Type']}"))

    def _watch(self, plural: str, query: Mapping[str, str]) -> None:
        since = int(query["resourceVersion"])
        if since < self.cluster.oldest:
            self._say(410, {}, _status(410, f"too old resource version: {since} ({self.cluster.oldest})"))
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        name = query["fieldSelector"].removeprefix("metadata.name=")
        with self.cluster.changed:
            self.cluster.changed.wait_for(lambda: self.cluster.version > since, timeout=1.0)
            seen = [event for event in self.cluster.events if event[0] > since and event[2] == (plural, name)]
        for _, kind, _, value in seen:
            line = json.dumps({"type": kind, "object": value}).encode() + b"\n"
            self.wfile.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")


@contextmanager
def kubernetes_api() -> Iterator[tuple[str, Cluster]]:
    """Its address on loopback, and what it holds."""
    cluster = Cluster()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Requests", (_Requests,), {"cluster": cluster}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", cluster
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
