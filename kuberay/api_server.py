"""A Kubernetes API server, by the `kubernetes` client: objects are plain mappings, errors the project's own.

Paths of kinds come from the server's own discovery, so that what an overlay holds need not be known here.
"""

import json
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import urllib3
from kubernetes import client, config
from kubernetes.config import ConfigException

from app.core.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    SightlineError,
    UnauthenticatedError,
    UnavailableError,
)
from kuberay.manifest import Manifest, entries, title

OWNER: Final = "sightline"
"""The field manager: what it applied, it may change and remove."""
_TRIES: Final = 5
_TIMEOUT_S: Final = 30.0
_APPLY, _JSON_PATCH = "application/apply-patch+yaml", "application/json-patch+json"
_ERRORS: Final[Mapping[int, type[SightlineError]]] = {
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    429: OverloadedError,
}


class GoneError(ConflictError):
    """A watch cannot go on from where it was: what happened since is forgotten, and must be read anew."""

    code = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where the objects of a kind lie."""

    prefix: str
    plural: str
    is_namespaced: bool

    def path(self, namespace: str, name: str = "") -> str:
        space = f"/namespaces/{namespace}" if self.is_namespaced else ""
        return f"{self.prefix}{space}/{self.plural}{f'/{name}' if name else ''}"


class ApiServer:
    """One server and one namespace of it. `connect` opens a client, and again when its credentials have expired."""

    def __init__(
        self,
        connect: Callable[[], client.ApiClient],
        *,
        namespace: str,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.namespace = namespace
        self._connect, self._sleep = connect, sleep
        self._api = connect()
        self._places: dict[tuple[str, str], _Place] = {}

    def get(self, api_version: str, kind: str, name: str) -> Manifest | None:
        """Return an object; None where there is none."""
        try:
            return self._json("GET", self._place(api_version, kind).path(self.namespace, name))
        except NotFoundError:
            return None

    def find(self, api_version: str, kind: str, *, labels: str = "") -> Manifest:
        """Return a list of objects, with the version from which a watch goes on."""
        query = {"labelSelector": labels} if labels else {}
        return self._json("GET", self._place(api_version, kind).path(self.namespace), query=query)

    def apply(self, manifest: Manifest, *, force: bool = False, is_rehearsal: bool = False) -> Manifest:
        """Apply on the server's side; ConflictError names the fields of other owners, unless `force` takes them.

        A rehearsal is checked as if it were meant, and changes nothing.
        """
        place = self._place(manifest["apiVersion"], manifest["kind"])
        namespace = manifest["metadata"].get("namespace", self.namespace)
        query = {"fieldManager": OWNER, "fieldValidation": "Strict", "force": str(force).lower()}
        if is_rehearsal:
            query["dryRun"] = "All"
        path = place.path(namespace, manifest["metadata"]["name"])
        try:
            return self._json("PATCH", path, query=query, body=manifest, kind=_APPLY)
        except SightlineError as error:
            raise type(error)(f"{title(manifest)}: {error.detail}") from None

    def patch_status(self, api_version: str, kind: str, name: str, changes: Sequence[Mapping[str, Any]]) -> Manifest:
        """Change what is told of an object, by a JSON patch."""
        path = self._place(api_version, kind).path(self.namespace, name)
        return self._json("PATCH", f"{path}/status", body=list(changes), kind=_JSON_PATCH)

    def watch(
        self, api_version: str, kind: str, name: str, *, since: str, timeout_s: float
    ) -> Iterator[tuple[str, Manifest]]:
        """Yield what happens to an object after version `since`, as (ADDED, MODIFIED or DELETED, the object).

        It ends after `timeout_s`, or when the server ends it. GoneError when it cannot go on from there.
        """
        path = self._place(api_version, kind).path(self.namespace)
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": since,
            "timeoutSeconds": str(max(int(timeout_s), 1)),
            "allowWatchBookmarks": "true",
        }
        answer = self._ask("GET", path, query=query, timeout_s=timeout_s + 5.0).response
        try:
            for line in _lines(answer):
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise _error(int(event["object"].get("code", 500)), event["object"])
                if event["type"] != "BOOKMARK":
                    yield event["type"], event["object"]
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise UnavailableError("the API server broke off a watch") from error
        finally:
            answer.close()

    def log(self, pod: str, *, container: str, lines: int) -> str:
        """Return the last lines that a container of a pod has written."""
        query = {"container": container, "tailLines": str(lines)}
        path = f"/api/v1/namespaces/{self.namespace}/pods/{pod}/log"
        return str(self._ask("GET", path, query=query).read().decode(errors="replace"))

    def _place(self, api_version: str, kind: str) -> _Place:
        key = api_version, kind
        if key not in self._places:
            prefix = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
            try:
                found = self._json("GET", prefix)
            except NotFoundError:
                found = {}
            for one in entries(found.get("resources")):
                if one.get("kind") == kind and "/" not in one["name"]:
                    self._places[key] = _Place(prefix=prefix, plural=one["name"], is_namespaced=one["namespaced"])
        if key not in self._places:
            raise UnavailableError(f"the API server knows no {kind} of {api_version}: its CRD is not installed")
        return self._places[key]

    def _json(self, method: str, path: str, **asked: Any) -> Manifest:
        data: Manifest = json.loads(self._ask(method, path, **asked).read())
        return data

    def _ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        kind: str | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> Any:
        """The answer, tried again where that helps: throttled, overloaded, or with credentials that ran out."""
        asked = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        is_renewed = False
        for tries_left in reversed(range(_TRIES)):
            try:
                return self._once(method, asked, body=body, kind=kind, timeout_s=timeout_s)
            except UnauthenticatedError:
                if is_renewed:
                    raise
                self._api, is_renewed = self._connect(), True
            except (OverloadedError, UnavailableError) as error:
                if not tries_left:
                    raise
                self._sleep(error.retry_after_s)
        raise UnauthenticatedError("the API server takes none of the credentials")

    def _once(self, method: str, path: str, *, body: object, kind: str | None, timeout_s: float) -> Any:
        headers = {"Accept": "application/json"} | ({"Content-Type": kind} if kind else {})
        # Apply patches are YAML by their name, of which JSON is a part. JSON patches the client must write itself: of
        # any other body than a list it says that it is a strategic merge patch.
        sent = json.dumps(body) if isinstance(body, Mapping) else body
        asked = self._api.param_serialize(method, path, header_params=headers, auth_settings=["BearerToken"])
        _, url, headers, _, _ = asked
        try:
            answer = self._api.call_api(method, url, headers, sent, _request_timeout=timeout_s)
        except urllib3.exceptions.HTTPError as error:
            raise UnavailableError(f"the API server cannot be reached: {type(error).__name__}") from error
        if answer.status >= 400:  # noqa: PLR2004  HTTP
            raise _error(
                answer.status, _status(answer.response.data), retry_after=answer.response.headers.get("Retry-After")
            )
        return answer


def connected(*, context: str | None = None) -> Callable[[], client.ApiClient]:
    """Return what opens a client as kubectl would, or as a pod does; InvalidRequestError where neither is set up."""

    def connect() -> client.ApiClient:
        settings = client.Configuration()
        settings.retries = urllib3.Retry(0, redirect=2)
        try:
            config.load_kube_config(context=context, client_configuration=settings)  # type: ignore[no-untyped-call]
        except ConfigException as error:
            if context is not None:
                raise InvalidRequestError(f"there is no way to a cluster: {error}") from None
            try:
                config.load_incluster_config(client_configuration=settings)  # type: ignore[no-untyped-call]
            except ConfigException:
                raise InvalidRequestError(f"there is no way to a cluster: {error}") from None
        return client.ApiClient(settings)

    return connect


def _lines(answer: Any) -> Iterator[bytes]:
    rest = b""
    for piece in answer.stream(65_536, decode_content=True):
        *whole, rest = (rest + piece).split(b"\n")
        yield from (line for line in whole if line)


def _status(body: bytes) -> Mapping[str, Any]:
    try:
        status = json.loads(body)
    except ValueError:
        return {}
    return status if isinstance(status, Mapping) else {}


def _error(code: int, status: Mapping[str, Any], *, retry_after: str | None = None) -> SightlineError:
    words = str(status.get("message") or f"the API server answered {code}")
    if code == 410:  # noqa: PLR2004  HTTP: Gone
        return GoneError(words)
    kind = _ERRORS.get(code, UnavailableError if code >= 500 else InvalidRequestError)  # noqa: PLR2004  HTTP
    error = kind(words)
    if isinstance(error, OverloadedError | UnavailableError) and retry_after and retry_after.isdecimal():
        error.retry_after_s = float(retry_after)
    return error
