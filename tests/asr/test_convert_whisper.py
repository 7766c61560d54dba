"""CTranslate2 Whisper to transformers: a tiny model written in CTranslate2's format comes back weight for weight."""

import importlib.util
import struct
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from asr.models.speech_ctc import SpeechCtcConfig
from signwave.errors import ArtefactError

WIDTH, VOCABULARY_SIZE = 64, 51864


@pytest.fixture(scope="module")
def converter(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "convert_ct2_whisper", repository / "tools" / "convert_ct2_whisper.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def variables(rng: np.random.Generator, *, layers: int = 1) -> dict[str, np.ndarray]:
    made: dict[str, np.ndarray] = {}

    def add(name: str, *shape: int) -> None:
        made[name] = rng.normal(scale=0.1, size=shape).astype(np.float16)

    def linear(name: str, rows: int, columns: int) -> None:
        add(name + "/weight", rows, columns)
        add(name + "/bias", rows)

    def norm(name: str) -> None:
        add(name + "/gamma", WIDTH)
        add(name + "/beta", WIDTH)

    for side in ("encoder", "decoder"):
        add(f"{side}/position_encodings/encodings", 30, WIDTH)
        norm(f"{side}/layer_norm")
        for i in range(layers):
            layer = f"{side}/layer_{i}"
            norm(f"{layer}/self_attention/layer_norm")
            linear(f"{layer}/self_attention/linear_0", 3 * WIDTH, WIDTH)
            linear(f"{layer}/self_attention/linear_1", WIDTH, WIDTH)
            if side == "decoder":
                norm(f"{layer}/attention/layer_norm")
                linear(f"{layer}/attention/linear_0", WIDTH, WIDTH)
                linear(f"{layer}/attention/linear_1", 2 * WIDTH, WIDTH)
                linear(f"{layer}/attention/linear_2", WIDTH, WIDTH)
            norm(f"{layer}/ffn/layer_norm")
            linear(f"{layer}/ffn/linear_0", 4 * WIDTH, WIDTH)
            linear(f"{layer}/ffn/linear_1", WIDTH, 4 * WIDTH)
    for number, inputs in ((1, 80), (2, WIDTH)):
        add(f"encoder/conv{number}/weight", WIDTH, inputs, 3)
        add(f"encoder/conv{number}/bias", WIDTH)
    made["decoder/embeddings/weight"] = rng.integers(-9, 9, size=(VOCABULARY_SIZE, WIDTH)).astype(np.int8)
    made["decoder/embeddings/weight_scale"] = np.full(VOCABULARY_SIZE, 4.0, np.float32)
    made["encoder/num_heads"] = np.array(2, np.int16)
    return made


def write_model(folder: Path, values: dict[str, np.ndarray], *, spec: str = "WhisperSpec") -> None:
    def string(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    codes = {np.dtype(np.float32): 0, np.dtype(np.int8): 1, np.dtype(np.int16): 2, np.dtype(np.float16): 4}
    parts = [struct.pack("<I", 6), string(spec), struct.pack("<II", 3, len(values))]
    for name, value in values.items():
        shape = struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        parts += [string(name), shape, struct.pack("<BI", codes[value.dtype], value.nbytes), value.tobytes()]
    parts.append(struct.pack("<I", 1) + string("decoder/projection/weight") + string("decoder/embeddings/weight"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.bin").write_bytes(b"".join(parts))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("ct2")
    values = variables(np.random.default_rng(0))
    write_model(folder, values)
    return folder, values


def test_variables_are_read_back(converter: ModuleType, source: tuple[Path, dict[str, np.ndarray]]) -> None:
    found = converter.read_variables(source[0] / "model.bin")
    assert all(np.array_equal(found[name], value) for name, value in source[1].items())
    assert found["decoder/projection/weight"] is found["decoder/embeddings/weight"]


def test_a_converted_folder_is_a_donor(
    converter: ModuleType, source: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    folder, values = source
    converter.convert(folder, tmp_path / "out")
    config = SpeechCtcConfig(donor_dir=str(tmp_path / "out"))
    assert config.features().kind == "log_mel"
    encoder = config.build(vocab_size=5).encoder.encoder
    fused = torch.from_numpy(values["encoder/layer_0/self_attention/linear_0/weight"].astype(np.float32))
    attention = encoder.layers[0].self_attn
    assert torch.equal(torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]), fused)
    assert attention.num_heads == 2
    positions = values["encoder/position_encodings/encodings"].astype(np.float32)
    assert np.array_equal(encoder.embed_positions.weight.numpy(), positions)


def test_int8_rows_are_divided_by_their_scale(
    converter: ModuleType, source: tuple[Path, dict[str, np.ndarray]]
) -> None:
    state = converter.state_dict(source[1])
    wanted = source[1]["decoder/embeddings/weight"].astype(np.float32) / 4.0
    assert np.array_equal(state["proj_out.weight"].numpy(), wanted)


@pytest.mark.parametrize("size", [0, 3, 40, 100_000])
def test_a_cut_file_is_refused(
    converter: ModuleType, source: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, size: int
) -> None:
    (tmp_path / "model.bin").write_bytes((source[0] / "model.bin").read_bytes()[:size])
    with pytest.raises(ArtefactError, match="not a complete CTranslate2 model file"):
        converter.convert(tmp_path, tmp_path / "out")


def test_other_models_and_empty_folders_are_refused(converter: ModuleType, tmp_path: Path) -> None:
    write_model(tmp_path / "other", {}, spec="TransformerSpec")
    with pytest.raises(ArtefactError, match="holds a 'TransformerSpec' model"):
        converter.convert(tmp_path / "other", tmp_path / "out")
    with pytest.raises(ArtefactError, match=r"no model\.bin in it"):
        converter.convert(tmp_path / "nothing", tmp_path / "out")
