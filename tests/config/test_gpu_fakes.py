"""The fakes of TensorRT and PyCUDA, and our own callbacks, have the signatures of the real ones.

The stubs of both lie outside the repository; without them these tests skip.
"""

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
STUBS = REPOSITORY.parent / "shared" / "stubs"
TENSORRT, PYCUDA = STUBS / "tensorrt" / "__init__.pyi", STUBS / "pycuda" / "driver.pyi"
needs_stubs = pytest.mark.skipif(not TENSORRT.exists(), reason="the stubs of TensorRT and PyCUDA are not here")
PAIRS = [
    ("tests/fake_tensorrt.py", TENSORRT),
    ("tests/fake_tensorrt_names.py", TENSORRT),
    ("tests/fake_pycuda.py", PYCUDA),
]
OWN = {"SimulatedGraphs", "plug_in", "install"}
"""A fake at a port of ours, not of PyCUDA's, and what plugs a new GPU or library in."""
CONSTRUCTED = {"Builder", "Runtime", "OnnxParser", "Device", "Stream"}
"""What we make ourselves; of the rest, which the libraries make, no constructor is compared."""
CALLBACKS = [
    ("engines/tensorrt_log.py", "TensorRtLog", "ILogger"),
    ("engines/tensorrt_progress.py", "BuildProgress", "IProgressMonitor"),
    ("engines/tensorrt_output.py", "PooledOutput", "IOutputAllocator"),
]
_Members = dict[str, set[tuple[str, ...] | None]]


def names_of(function: ast.FunctionDef) -> tuple[str, ...]:
    """Return the parameters' names without `self`, and with `*` before those that may be left out."""
    names = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    n_required = len(names) - len(function.args.defaults)
    marked = [name if place < n_required else f"*{name}" for place, name in enumerate(names)]
    return tuple(name for name in marked if name != "self")


def members_of(node: ast.ClassDef) -> _Members:
    """Return every public member: its overloads' parameters, or None for what is no method."""
    members: _Members = {}
    for item in node.body:
        match item:
            case ast.FunctionDef():
                decorators = {ast.unparse(one).rsplit(".", 1)[-1] for one in item.decorator_list}
                members.setdefault(item.name, set()).add(
                    None if decorators & {"property", "setter"} else names_of(item)
                )
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]):
                members.setdefault(name, set()).add(None)
    has_own_maker = node.name in CONSTRUCTED
    return {
        name: kinds
        for name, kinds in members.items()
        if not name.startswith("_") or (name == "__init__" and has_own_maker)
    }


def declared(source: str) -> dict[str, _Members]:
    """Return the members of each class; the functions of the module under the empty name."""
    body = ast.parse(source).body
    classes = {node.name: members_of(node) for node in body if isinstance(node, ast.ClassDef)}
    functions = {node.name: {names_of(node)} for node in body if isinstance(node, ast.FunctionDef)}
    return {**classes, "": functions}


def drifts(fake: str, real: str) -> list[str]:
    """Return what of the fake is not in the real thing. A parameter that is optional there may be required here."""
    found: list[str] = []
    reals = declared(real)
    for owner, members in declared(fake).items():
        if owner.startswith("_") or owner in OWN:
            continue
        if owner not in reals:
            found.append(f"there is no class {owner}")
            continue
        for name, kinds in members.items():
            theirs = reals[owner].get(name, set())
            if (name.startswith("_") and name != "__init__") or name in OWN:
                continue
            if not theirs:
                found.append(f"there is no {owner}.{name}")
            elif not all(any(_fits(kind, other) for other in theirs) for kind in kinds):
                found.append(f"{owner}.{name} is {kinds}, and really {theirs}")
    return found


def _fits(ours: tuple[str, ...] | None, theirs: tuple[str, ...] | None) -> bool:
    """Return whether every call that ours takes is one that theirs takes."""
    if ours is None or theirs is None:
        return ours is theirs
    bare = [name.lstrip("*") for name in theirs]
    return [name.lstrip("*") for name in ours] == bare[: len(ours)] and all(
        name.startswith("*") for name in theirs[len(ours) :]
    )


@needs_stubs
@pytest.mark.parametrize(("fake", "stub"), PAIRS)
def test_fakes_have_only_what_the_real_modules_have(fake: str, stub: Path) -> None:
    assert drifts((REPOSITORY / fake).read_text("utf-8"), stub.read_text("utf-8")) == []


@needs_stubs
@pytest.mark.parametrize(("file", "ours", "theirs"), CALLBACKS)
def test_what_tensorrt_calls_back_has_the_parameters_that_it_passes(file: str, ours: str, theirs: str) -> None:
    real = declared(TENSORRT.read_text("utf-8"))[theirs]
    mine = declared((REPOSITORY / file).read_text("utf-8"))[ours]
    called = {name: kinds for name, kinds in mine.items() if name in real and name != "__init__"}
    overridable = set(real) - {"__init__", "reallocate_output"}  # the older of two calls, of which one is enough
    assert called == {name: kinds for name, kinds in real.items() if name in called}
    assert {name for name in overridable if None not in real[name]} == set(called)


@needs_stubs
@pytest.mark.parametrize(
    ("planted", "words"),
    [
        ("class Builder:\n    def build_engine(self, network): ...", "no Builder.build_engine"),
        ("class Builder:\n    def create_network(self, flag): ...", "Builder.create_network is"),
        ("class Builder:\n    max_batch_size = 1", "no Builder.max_batch_size"),
        ("class Builder:\n    create_network = None", "Builder.create_network is {None}"),
        ("class Builder:\n    def __init__(self): ...", "Builder.__init__ is"),
        ("class BuilderFlag:\n    FP16 = 0", "no BuilderFlag.FP16"),
        ("class IInt8Calibrator:\n    pass", "no class IInt8Calibrator"),
        ("class OnnxParser:\n    def parse(self, model, path, more): ...", "OnnxParser.parse is"),
        (
            "class IExecutionContext:\n    def execute_async_v2(self, bindings): ...",
            "no IExecutionContext.execute_async_v2",
        ),
    ],
)
def test_a_fake_that_drifts_is_found_out(planted: str, words: str) -> None:
    """The positive control: what TensorRT 10 and earlier had, and wrong signatures."""
    assert words in " ".join(drifts(planted, TENSORRT.read_text("utf-8")))
