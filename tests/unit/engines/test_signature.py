"""Where keys are configured, only what one of them signed is opened."""

import shutil
import subprocess
from pathlib import Path

import pytest

from app.core.errors import ModelError
from engines.model_file import read_model_file
from engines.sign import main, sign_version
from engines.signature import load_keys
from engines.store import ModelStore
from tests.unit.engines.versions import read_folder, write_json, write_keys, write_version


@pytest.fixture
def keys(tmp_path: Path):
    return write_keys(tmp_path)


@pytest.fixture
def signed(tmp_path: Path, keys: tuple[Path, Path]):
    folder = write_version(tmp_path / "models", golden__json=b"[]")
    sign_version(folder, key=keys[0])
    return folder


def test_a_signed_version_is_read_and_its_signer_told(signed: Path, keys: tuple[Path, Path]) -> None:
    trusted = load_keys([keys[1]])
    assert read_folder(signed, trusted_keys=trusted).signer == "release"
    assert read_model_file(signed / "model.onnx", trusted_keys=trusted).signer == "release"
    assert read_model_file(signed / "model.onnx").signer is None


@pytest.mark.parametrize("name", ["model.onnx", "golden.json", "card.json", "card.json.sig"])
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_one_flipped_bit_in_any_file_is_refused(name: str, place: float, signed: Path, keys: tuple[Path, Path]) -> None:
    content = bytearray((signed / name).read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    (signed / name).write_bytes(content)
    with pytest.raises(ModelError):
        read_folder(signed, trusted_keys=load_keys([keys[1]]))


def test_an_unsigned_version_is_refused_before_its_model_is_opened(signed: Path, keys: tuple[Path, Path]) -> None:
    (signed / "card.json.sig").unlink()
    (signed / "model.onnx").unlink()
    with pytest.raises(ModelError, match="not signed"):
        read_folder(signed, trusted_keys=load_keys([keys[1]]))


def test_another_ones_signature_is_refused_and_any_trusted_key_will_do(tmp_path: Path, signed: Path) -> None:
    other_private, other_public = write_keys(tmp_path, name="other")
    (other,) = load_keys([other_public])
    with pytest.raises(ModelError, match="not by a trusted key"):
        read_folder(signed, trusted_keys=(other,))
    both = (*load_keys([tmp_path / "release.pub"]), other)
    assert read_folder(signed, trusted_keys=both).signer == "release"
    sign_version(signed, key=other_private)
    assert read_folder(signed, trusted_keys=both).signer == "other"


@pytest.mark.parametrize("length", [0, 63, 65, 4096])
def test_a_signature_of_another_length_is_refused(length: int, signed: Path, keys: tuple[Path, Path]) -> None:
    (signed / "card.json.sig").write_bytes(b"\0" * length)
    with pytest.raises(ModelError):
        read_folder(signed, trusted_keys=load_keys([keys[1]]))


def test_a_folder_without_a_card_is_refused_where_keys_are_configured(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    with pytest.raises(ModelError, match="not signed"):
        read_folder(tmp_path, trusted_keys=load_keys([keys[1]]))


def test_a_signed_version_serves_under_no_other_name_or_number(signed: Path, keys: tuple[Path, Path]) -> None:
    store = ModelStore(signed.parents[1], trusted_keys=load_keys([keys[1]]))
    assert store.read(store.find("tiny", "1.0.0")).signer == "release"
    shutil.copytree(signed, signed.parent / "2.0.0")
    with pytest.raises(ModelError, match="another model or version"):
        store.read(store.find("tiny", "2.0.0"))


def test_openssl_checks_what_was_signed_here_and_the_other_way_round(signed: Path, keys: tuple[Path, Path]) -> None:
    private, public = keys
    card, signature = str(signed / "card.json"), str(signed / "card.json.sig")
    pkeyutl = ["openssl", "pkeyutl", "-rawin", "-in", card]
    verify = [*pkeyutl, "-verify", "-pubin", "-inkey", str(public), "-sigfile", signature]
    assert subprocess.run(verify, check=True, capture_output=True).returncode == 0
    (signed / "card.json.sig").unlink()
    subprocess.run([*pkeyutl, "-sign", "-inkey", str(private), "-out", signature], check=True, capture_output=True)
    assert read_folder(signed, trusted_keys=load_keys([public])).signer == "release"


def test_what_is_no_key_is_refused_without_its_folder(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    broken = tmp_path / "broken.pub"
    broken.write_text("no key")
    for path in (broken, keys[0], tmp_path / "absent.pub"):
        with pytest.raises(ModelError) as caught:
            load_keys([path])
        assert str(tmp_path) not in caught.value.detail
    with pytest.raises(ModelError, match="private key"):
        sign_version(write_version(tmp_path / "models"), key=keys[1])


def test_only_a_version_that_fits_its_card_is_signed(
    tmp_path: Path, keys: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_version(tmp_path / "models")
    (folder / "model.onnx").write_bytes(b"another")
    assert main([str(folder), "--key", str(keys[0])]) == 1
    assert "SHA-256" in capsys.readouterr().err
    write_json(folder / "card.json", {"name": "tiny"})
    assert main([str(folder), "--key", str(keys[0])]) == 1
    assert "name, version and files" in capsys.readouterr().err
    assert not (folder / "card.json.sig").exists()
