"""librdkafka's mock cluster: a broker that speaks Kafka, out of the library that confluent-kafka ships."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka

_PRODUCER = 0
_BROKER = 1
_PRODUCE = 0


def _library() -> ctypes.CDLL:
    """The library that the client uses itself, loaded already: its handles are shared with no other copy."""
    folder = Path(confluent_kafka.__file__).parent.with_name("confluent_kafka.libs")
    library = ctypes.CDLL(str(next(folder.glob("librdkafka-*.so*"))))
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    library.rd_kafka_conf_set.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_size_t,
    ]
    library.rd_kafka_new.restype = ctypes.c_void_p
    library.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    library.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mock_broker_set_host_port.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int32,
        ctypes.c_char_p,
        ctypes.c_int,
    ]
    for name in ("set_down", "set_up"):
        getattr(library, f"rd_kafka_mock_broker_{name}").argtypes = [ctypes.c_void_p, ctypes.c_int32]
    library.rd_kafka_mock_push_request_errors_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_int16,
        ctypes.c_size_t,
        ctypes.POINTER(ctypes.c_int),
    ]
    library.rd_kafka_mock_topic_set_error.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    for name in ("rd_kafka_mock_cluster_destroy", "rd_kafka_destroy"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = None
    return library


class MockCluster:
    """A cluster of one broker."""

    def __init__(self, library: ctypes.CDLL, cluster: ctypes.c_void_p) -> None:
        self._library = library
        self._cluster = cluster
        self.port = int(library.rd_kafka_mock_cluster_bootstraps(cluster).decode().rsplit(":", 1)[1])

    def advertise(self, port: int) -> None:
        """Send clients to another port of this machine from now on."""
        self._library.rd_kafka_mock_broker_set_host_port(self._cluster, _BROKER, b"127.0.0.1", port)

    def go_down(self) -> None:
        """End all connections and let nobody in."""
        self._library.rd_kafka_mock_broker_set_down(self._cluster, _BROKER)

    def come_up(self) -> None:
        """Be there again."""
        self._library.rd_kafka_mock_broker_set_up(self._cluster, _BROKER)

    def fail_next_produce(self, code: int) -> None:
        """Answer the next Produce request with an error."""
        self._library.rd_kafka_mock_push_request_errors_array(self._cluster, _PRODUCE, 1, (ctypes.c_int * 1)(code))

    def refuse(self, topic: str, code: int) -> None:
        """Answer for a topic with an error from now on."""
        self._library.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), code)


@contextmanager
def mock_cluster() -> Iterator[MockCluster]:
    """A running cluster."""
    library = _library()
    words = ctypes.create_string_buffer(512)
    settings = library.rd_kafka_conf_new()
    library.rd_kafka_conf_set(settings, b"log_level", b"3", words, len(words))
    client = library.rd_kafka_new(_PRODUCER, settings, words, len(words))
    if not client:
        raise RuntimeError(words.value.decode())
    cluster = library.rd_kafka_mock_cluster_new(client, 1)
    try:
        yield MockCluster(library, cluster)
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(client)
