"""The protobuf compiler: what it writes for the contract, and what it read in it."""

from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

HERE = Path(__file__).parent
SOURCE = "sightline/v1/vision.proto"
FOUND_AS = ("from sightline.v1 import vision_pb2", "'sightline.v1.vision_pb2'")
STANDS_AS = ("from app.contract import vision_pb2", "'app.contract.vision_pb2'")
"""protoc names modules after the proto's folder; ours lie in a package of `app`."""


def protobuf_modules() -> dict[str, str]:
    """The text of the message and gRPC modules, by file name."""
    with TemporaryDirectory() as into:
        _compile(f"--python_out={into}", f"--pyi_out={into}", f"--grpc_python_out={into}")
        return {file.name: _moved(file.read_text("utf-8")) for file in sorted((Path(into) / SOURCE).parent.iterdir())}


def described() -> FileDescriptorSet:
    """The contract and the files that it imports as protoc understood them, comments included."""
    with TemporaryDirectory() as into:
        out = Path(into) / "set"
        _compile(f"--descriptor_set_out={out}", "--include_source_info", "--include_imports")
        return FileDescriptorSet.FromString(out.read_bytes())


def _compile(*outputs: str) -> None:
    includes = [f"-I{HERE}", f"-I{files('grpc_tools') / '_proto'}"]
    if protoc.main(["protoc", *includes, *outputs, SOURCE]) != 0:
        raise SystemExit(1)


def _moved(text: str) -> str:
    for found, stands in zip(FOUND_AS, STANDS_AS, strict=True):
        text = text.replace(found, stands)
    return text
