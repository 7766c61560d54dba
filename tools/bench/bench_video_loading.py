"""Loading clips for training: packed clips through our loader against PNG folders and zip archives as others read them.

    python tools/bench/bench_video_loading.py [--quick] [--out FILE] [--clips FOLDER] [--real-frames FOLDER]

Every way brings the same clips (made-up signers at 210 x 260 in folders of PNG frames, or --clips cut to such folders)
to batches of two, with the same chances of crop, flip and tempo:

    ours_video, ours_jpeg  slr.training.data on clips packed to 256 x 256: uint8 batches; crop, flip, colour and tempo
                           are left to the device (slr.training.augmentation)
    ours_video_host        ours_video, then crop, flip, tempo and normalising on the host as VAC does
    png_folder             VAC, CorrNet: each PNG by OpenCV (Pillow where it isn't installed), to 256, crop 224, flip,
                           tempo, float32 in [-1, 1], padded with the last frame
    zip                    SLRT: each PNG out of a zip by Pillow, tempo by choosing frames, float32 in [0, 1], padded;
                           crop and colour come on the device there too

Pictures are compared before anything is timed. Ways take turns, and each one's best round counts.

What dominates ours, per frame of 256 x 256 (see "settings" in the result): the conversion from YUV to RGB, then the
decoding of h264, which halves when the encoder leaves out arithmetic coding and deblocking (`fast_decode`). Scaling
while decoding costs as much as decoding, so clips are packed at the training size. What dominates theirs: inflating
PNG, and making float32 copies on the host.
"""

from __future__ import annotations

import argparse
import glob
import importlib
import importlib.util
import io
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from _result import write_result
from made_up_signers import layout

from signwave.manifest import Clip
from signwave.media.video import open_video, write_video
from signwave.sampling import Draw
from signwave.text import Vocabulary
from slr.corpora.packing import PackSettings, pack_all
from slr.reading import Needs
from slr.training.augmentation import FrameAugmentation
from slr.training.batch import SignBatch
from slr.training.data import ClipDataset, Tempo

HAS_CV2 = importlib.util.find_spec("cv2") is not None
STORED_PX, CROP_PX, BATCH = (256, 256), 224, 2
MIN_PSNR_DB = 30.0
Batches = Iterator[Any]


class Source(NamedTuple):
    """One clip as the corpora hold it, and its packed forms."""

    folder: Path
    num_frames: int
    packed: dict[str, Clip]


def imread(path: str) -> NDArray[np.uint8]:
    """Read one picture as (H, W, 3) RGB, by OpenCV where it is installed."""
    if not HAS_CV2:
        return np.asarray(Image.open(path).convert("RGB"))
    cv2 = importlib.import_module("cv2")
    pixels: NDArray[np.uint8] = cv2.cvtColor(cv2.imread(path), cv2.COLOR_BGR2RGB)
    return pixels


def resize(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bring a picture to 256 x 256."""
    if not HAS_CV2:
        return np.asarray(Image.fromarray(picture).resize(STORED_PX[::-1], Image.Resampling.BILINEAR))
    cv2 = importlib.import_module("cv2")
    pixels: NDArray[np.uint8] = cv2.resize(picture, STORED_PX[::-1])
    return pixels


def tempo_indices(num_frames: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Frames that a change of tempo by up to a fifth leaves."""
    size = max(4, round(num_frames * rng.uniform(0.8, 1.2)))
    return ((np.arange(size) + 0.5) * num_frames / size).astype(np.int64)


class PngFolders:
    """VAC's and CorrNet's loader."""

    def __init__(self, sources: list[Source]) -> None:
        self.sources = sources

    def __getitem__(self, draw: Draw) -> Tensor:
        """(T, 3, 224, 224) float32 in [-1, 1]."""
        rng = np.random.default_rng(draw.seed)
        names = sorted(glob.glob(f"{self.sources[draw.index].folder}/*.png"))
        pictures = [resize(imread(name)) for name in names]
        down, right = rng.integers(0, STORED_PX[0] - CROP_PX + 1, 2)
        pictures = [picture[down : down + CROP_PX, right : right + CROP_PX] for picture in pictures]
        if rng.random() < 0.5:
            pictures = [np.ascontiguousarray(picture[:, ::-1]) for picture in pictures]
        video = torch.from_numpy(np.array(pictures).transpose(0, 3, 1, 2)).float()
        return video[tempo_indices(len(video), rng)] / 127.5 - 1


class Zips:
    """SLRT's loader."""

    def __init__(self, sources: list[Source], archive: Path) -> None:
        self.sources = sources
        self.archive = archive
        self.opened: zipfile.ZipFile | None = None

    def __getitem__(self, draw: Draw) -> Tensor:
        """(T, 3, H, W) float32 in [0, 1]."""
        if self.opened is None:
            self.opened = zipfile.ZipFile(self.archive)
        source, rng = self.sources[draw.index], np.random.default_rng(draw.seed)
        names = [f"{source.folder.parent.name}/{number:06d}.png" for number in range(source.num_frames)]
        opened = [self.picture(names[index]) for index in tempo_indices(len(names), rng)]
        tensors = [torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in opened]
        return torch.stack(tensors) / 255

    def picture(self, name: str) -> Image.Image:
        """One picture out of the archive."""
        if self.opened is None:
            self.opened = zipfile.ZipFile(self.archive)
        return Image.open(io.BytesIO(self.opened.read(name))).convert("RGB")


def pad_with_last(videos: list[Tensor]) -> Tensor:
    """(B, T, 3, H, W): shorter clips repeat their last frame."""
    most = max(len(video) for video in videos)
    return torch.stack([torch.cat([v, v[-1:].expand(most - len(v), -1, -1, -1)]) for v in videos])


def on_host(batch: SignBatch) -> Tensor:
    """What VAC's loader does, on a batch of ours: crop, flip, tempo, float32 in [-1, 1], (B, T, 3, 224, 224)."""
    if batch.chances is None or batch.take is None:
        raise ValueError("the batch has no chances; load it augmented")
    out = torch.zeros(len(batch.inputs), batch.take.shape[1], 3, CROP_PX, CROP_PX)
    lengths = batch.num_frames.tolist()
    for clip, take, chances, video, size in zip(batch.inputs, batch.take, batch.chances.tolist(), out, lengths):
        y, x = (int(chance * (STORED_PX[0] - CROP_PX + 1)) for chance in chances[:2])
        cut = clip[:, :, y : y + CROP_PX, x : x + CROP_PX][take[:size]]
        video[:size].copy_(cut.flip(-1) if chances[2] < 0.5 else cut).div_(127.5).sub_(1)
    return out


def loaders(sources: list[Source], archive: Path, num_workers: int) -> dict[str, Callable[[], Batches]]:
    """Each way as a function that reads every clip once, in batches; workers stay alive from one call to the next."""
    draws = [Draw(index, 1000 + index) for index in range(len(sources))]
    order = [draws[first : first + BATCH] for first in range(0, len(draws), BATCH)]
    options: dict[str, Any] = {
        "batch_sampler": order, "num_workers": num_workers, "persistent_workers": num_workers > 0
    }  # fmt: skip
    ways: dict[str, Callable[[], Batches]] = {}
    for container in ("video", "jpeg"):
        dataset = ClipDataset(
            [source.packed[container] for source in sources],
            vocabulary=Vocabulary(("<blank>", "X")),
            needs=Needs("frames", 25.0, STORED_PX),
            tempo=Tempo(),
            augmented=True,
        )
        ours: Any = DataLoader(dataset, collate_fn=dataset.collate, **options)  # type: ignore[arg-type]
        ways[f"ours_{container}"] = partial(iter, ours)
        if container == "video":
            ways["ours_video_host"] = partial(map, on_host, ours)
    others = {"png_folder": PngFolders(sources), "zip": Zips(sources, archive)}
    for name, other in others.items():
        loader: Any = DataLoader(other, collate_fn=pad_with_last, **options)  # type: ignore[arg-type]
        ways[name] = partial(iter, loader)
    return ways


def time_ways(ways: dict[str, Callable[[], Batches]], num_clips: int, rounds: int) -> dict[str, Any]:
    """Clips a second of each way, and milliseconds of this process's own time a clip."""
    best: dict[str, tuple[float, float]] = {}
    for number in range(rounds + 1):
        for name, way in ways.items():
            wall, own = time.perf_counter(), time.process_time()
            for _ in way():
                pass
            spent = (time.perf_counter() - wall, time.process_time() - own)
            if number:  # the first round starts the workers and warms the caches
                before = best.get(name, spent)
                best[name] = (min(spent[0], before[0]), min(spent[1], before[1]))
    return {
        name: {"clips_per_second": round(num_clips / wall, 2), "own_ms_per_clip": round(1000 * own / num_clips, 2)}
        for name, (wall, own) in best.items()
    }


def psnr_db(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """Likeness of two blocks of pictures."""
    error = float(np.mean((one.astype(np.float32) - other.astype(np.float32)) ** 2))
    return round(10 * float(np.log10(255**2 / max(error, 1e-4))), 2)


def compare(sources: list[Source], archive: Path) -> dict[str, float]:
    """Hold the pictures of every way against those of the PNG folder; stop if they differ."""
    found: dict[str, float] = {}
    zipped = Zips(sources, archive)
    for source in sources[:2]:
        names = sorted(glob.glob(f"{source.folder}/*.png"))
        truth = np.stack([resize(imread(name)) for name in names])
        for container, clip in source.packed.items():
            with open_video(clip.path, size_px=STORED_PX) as video:
                frames = video.frames().pixels.transpose(0, 2, 3, 1)
            if frames.shape != truth.shape:
                raise SystemExit(f"{clip.path}: {frames.shape} where the folder holds {truth.shape}")
            found[container] = min(found.get(container, 99.0), psnr_db(frames, truth))
        picture = np.asarray(zipped.picture(f"{source.folder.parent.name}/000000.png"))
        if not np.array_equal(picture, imread(names[0])):
            raise SystemExit(f"{archive}: its first picture differs from {names[0]}")
    if min(found.values()) < MIN_PSNR_DB:
        raise SystemExit(f"packed pictures are too unlike their sources: PSNR {found} dB, need {MIN_PSNR_DB} dB")
    return found


def frame_folders(folder: Path, clips: Path | None, num_clips: int) -> list[Path]:
    """Folders of PNG frames at 210 x 260: made-up signers, or the first four seconds of real clips."""
    if clips is None:
        plan = layout.CorpusPlan(num_clips=(num_clips, 0, 0), width_px=210, height_px=260, keypoints=False)
        made = layout.make_clips(plan, folder)
        return [layout.frame_folder(folder, "train", clip.id) for clip in made]
    found = []
    for clip in sorted(clips.glob("*.mp4"))[:num_clips]:
        target = folder / clip.stem / "1"
        target.mkdir(parents=True)
        with open_video(clip, size_px=(260, 210), on_short="keep") as video:
            frames = video.frames(0.0, min(4.0, video.duration_seconds)).pixels
        for number, frame in enumerate(frames):
            Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0))).save(target / f"images{number:04d}.png")
        found.append(target)
    return found


def make_sources(folder: Path, folders: list[Path]) -> tuple[list[Source], Path, dict[str, Any]]:
    """Pack the clips in both ways and put their pictures into one zip."""
    archive = folder / "frames.zip"
    sizes: dict[str, Any] = {}
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as opened:
        for place in folders:
            for number, name in enumerate(sorted(place.glob("*.png"))):
                opened.write(name, f"{place.parent.name}/{number:06d}.png")
    num_frames = [len(list(place.glob("*.png"))) for place in folders]
    sizes["png_mib"] = round(archive.stat().st_size / 2**20, 2)
    clips = [
        Clip(id=place.parent.name, path=str(place), kind="video", num_frames=num, rate_hz=25.0, text="X")
        for place, num in zip(folders, num_frames, strict=True)
    ]
    packed: dict[str, list[Clip]] = {}
    for container in ("video", "jpeg"):
        settings = PackSettings(STORED_PX, container)  # type: ignore[arg-type]
        start = time.perf_counter()
        report = pack_all(clips, folder / container, settings=settings, show_progress=False)
        packed[container] = report.clips
        sizes[container] = report.to_dict() | {
            "mib": round(report.num_bytes / 2**20, 2),
            "pack_ms_per_frame": round(1000 * (time.perf_counter() - start) / sum(num_frames), 2),
        }
    sources = [
        Source(place, num, {name: found[index] for name, found in packed.items()})
        for index, (place, num) in enumerate(zip(folders, num_frames, strict=True))
    ]
    return sources, archive, sizes


def own_ms(work: Callable[[], object], repeats: int) -> float:
    """Least of this process's own time for one call, milliseconds."""
    work()
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(1000 * (time.process_time() - start))
    return min(spent)


def scan_settings(folder: Path, source: Source, repeats: int) -> dict[str, float]:
    """Milliseconds a frame of one clip under settings of ours: size, key frames, encoder, back end, JPEG."""
    from torchvision.io import decode_jpeg

    figures: dict[str, float] = {}

    def note(name: str, work: Callable[[], object]) -> None:
        figures[name] = round(own_ms(work, repeats) / source.num_frames, 3)

    def read(path: Path, backend: str, size_px: tuple[int, int] | None = None) -> object:
        with open_video(path, backend=backend, size_px=size_px) as video:  # type: ignore[arg-type]
            return video.frames()

    for size_px in ((256, 256), (224, 224), (260, 210)):
        with open_video(source.folder, size_px=size_px) as video:
            pixels = video.frames().pixels
        for gop, fast in ((12, True), (12, False), (250, True), (1, True)):
            path = folder / f"scan-{size_px[0]}-{gop}-{fast}.mp4"
            write_video(path, pixels, fps=25.0, crf=18, keyframe_interval=gop, fast_decode=fast)
            name = f"{size_px[1]}x{size_px[0]} key {gop} {'fast' if fast else 'plain'}"
            for backend in ("pyav", "decord") if gop == 12 else ("pyav",):
                note(f"{name} {backend}", partial(read, path, backend))
            if gop == 12 and fast and size_px == (256, 256):
                note(f"{name} pyav scaled to 224x224", partial(read, path, "pyav", (224, 224)))
    with zipfile.ZipFile(str(source.packed["jpeg"].path).split("::")[0]) as opened:
        name = source.packed["jpeg"].path.split("::")[1]
        blobs = [opened.read(entry) for entry in opened.namelist() if entry.startswith(f"{name}/")]
    tensors = [torch.frombuffer(bytearray(blob), dtype=torch.uint8) for blob in blobs]
    note("256x256 jpeg pillow", lambda: [np.asarray(Image.open(io.BytesIO(blob)).convert("RGB")) for blob in blobs])
    note("256x256 jpeg torchvision", lambda: [decode_jpeg(tensor) for tensor in tensors])
    note("256x256 jpeg shard, open_video", partial(read, Path(source.packed["jpeg"].path), "pyav"))
    note("210x260 png read and resized", lambda: [resize(imread(n)) for n in glob.glob(f"{source.folder}/*.png")])
    return figures


def device_side_ms(batch: SignBatch) -> dict[str, float]:
    """What our loader leaves to the device, a frame, done here on one core: an upper bound of what it hides."""
    frames = batch.inputs[:, :16].contiguous()
    chances = batch.chances if batch.chances is not None else torch.rand(len(frames), 64)
    spent = own_ms(lambda: FrameAugmentation(flip=0.5)(frames, chances), 2)
    return {"augmentation_cpu_ms_per_frame": round(spent / (frames.shape[0] * frames.shape[1]), 3)}


def real_frames(folder: Path, made: Path) -> dict[str, float]:
    """Reading one real PNG frame against a made-up one: neither should be much harder than the other."""
    pictures = {"real": sorted(folder.rglob("*.png"))[0], "made": sorted(made.glob("*.png"))[0]}
    return {
        f"{name}_{what}": value
        for name, path in pictures.items()
        for what, value in (
            ("png_kib", round(path.stat().st_size / 1024, 1)),
            ("read_ms", round(own_ms(lambda path=path: [imread(str(path)) for _ in range(50)], 3) / 50, 3)),  # type: ignore[misc]
        )
    }


def main() -> None:
    """Compare, time, print a table, write the result file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="four clips, one round, no scan of settings")
    parser.add_argument("--out", help="result file; by default a dated one beside this script")
    parser.add_argument("--clips", type=Path, help="a folder of real mp4 clips to use in place of made-up signers")
    parser.add_argument("--real-frames", type=Path, help="a folder with real PNG frames, to compare their cost")
    options = parser.parse_args()
    torch.set_num_threads(1)
    num_clips, rounds = (4, 1) if options.quick else (8, 2)
    reader = "opencv" if HAS_CV2 else "pillow"
    figures: dict[str, Any] = {"png_reader": reader, "batch": BATCH, "stored_px": list(STORED_PX)}
    figures["clips"] = "made-up signers" if options.clips is None else "real clips"
    ratio: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folders = frame_folders(folder / "raw", options.clips, num_clips)
        sources, archive, figures["files"] = make_sources(folder, folders)
        figures["num_clips"], figures["num_frames"] = len(sources), sum(source.num_frames for source in sources)
        figures["psnr_min_db"] = compare(sources, archive)
        for num_workers in (0, 2):
            timed = time_ways(loaders(sources, archive, num_workers), len(sources), rounds)
            figures[f"workers_{num_workers}"] = timed
            for ours in [name for name in timed if name.startswith("ours")]:
                for peer in ("png_folder", "zip"):
                    rates = [timed[name]["clips_per_second"] for name in (ours, peer)]
                    ratio[f"{ours}/{peer}, {num_workers} workers"] = round(rates[0] / rates[1], 2)
                    if num_workers == 0:  # steadier where other programs share the machine
                        own = [timed[name]["own_ms_per_clip"] for name in (ours, peer)]
                        ratio[f"{ours}/{peer}, 0 workers, processor time"] = round(own[1] / own[0], 2)
        batch = next(loaders(sources, archive, 0)["ours_video"]())
        figures["device_side"] = device_side_ms(batch)
        if options.real_frames:
            figures["real_frames"] = real_frames(options.real_frames, sources[0].folder)
        if not options.quick:
            figures["settings_own_ms_per_frame"] = scan_settings(folder, sources[0], 5)
    print(f"PNG read by {reader}; {figures['num_clips']} clips, {figures['num_frames']} frames")
    for num_workers in (0, 2):
        for name, value in figures[f"workers_{num_workers}"].items():
            columns = "  ".join(f"{key} {figure:8.2f}" for key, figure in value.items())
            print(f"{num_workers} workers  {name:18s} {columns}")
    for name, value in ratio.items():
        print(f"{name:55s} {value:6.2f}")
    print(f"written to {write_result('video_loading', figures, ratio, options.out)}")


if __name__ == "__main__":
    main()
