"""Fine-tuning of a recogniser of isolated signs on what it spotted itself in another corpus: the domain-aware encoder.

Source: CiCo (Cheng et al., CVPR 2023, §3.2). Everything begins as it was, the classifiers too, and keeps its classes;
the pseudo-labels are tables of `slr spot`.
"""

# no `from __future__ import annotations`: OmegaConf reads the types of the fields
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from signwave.errors import ConfigError
from signwave.recipe import Parts
from slr.isolated.made_up import MovingSigns
from slr.isolated.recipe import IsolatedRecipe
from slr.medium import ISOLATED_KIND
from slr.training.recipe import kind_of

if TYPE_CHECKING:
    import torch

    from signwave.bundle import Bundle
    from slr.crosslingual.signs import Splits
    from slr.isolated.model import IsolatedSigns

AnyDomain = TypeVar("AnyDomain", bound="DomainRecipe")

_PAPER_LEARNING_RATE, _PAPER_MOMENTUM = 1e-2, 0.9


@dataclass
class DomainRecipe(IsolatedRecipe):
    """A recogniser that goes on with pseudo-labels of another corpus; `initial_run` names the one that spotted them.

    The settings of the model, the classifier and the windows must be those of the run. A dictionary takes over the
    classifier of the language that it is named after; if the run has no such language, of the one that its table was
    spotted with, or of the only one there is.
    """

    paper_optimiser: bool = False
    """As CiCo trains, in place of `optimiser`: SGD with a rate of 0.01, momentum 0.9, no decay, and no schedule."""

    def build(self) -> Parts:
        """The data and the module.

        Raises:
            ConfigError: no run is named, or it doesn't fit.
        """
        recipe = self
        if self.paper_optimiser:
            plain = dataclasses.replace(self.optimiser, schedule="constant", warmup_steps=0)
            recipe = dataclasses.replace(self, optimiser=plain)
        stored = recipe._stored()
        if stored is not None:
            check_same(stored, recipe)
        return super(DomainRecipe, recipe).build()

    def classes(self, splits: "Splits") -> tuple[str, ...] | None:
        """All glosses that the run has, whether there is a pseudo-label of each or not."""
        stored = self._stored()
        if stored is None:
            return None
        language = language_of(stored, splits.train.name, splits.train.source)
        return tuple(map(str, stored.info["glosses"][language]))

    def make_optimiser(self, parameters: Any) -> "torch.optim.Optimizer":
        """The optimiser of some parameters."""
        import torch

        if self.paper_optimiser:
            return torch.optim.SGD(parameters, lr=_PAPER_LEARNING_RATE, momentum=_PAPER_MOMENTUM)
        return super().make_optimiser(parameters)

    def initialise(self, model: Any) -> None:
        """Give the model all weights of the run."""
        stored = self._stored()
        if stored is not None:
            languages = [language_of(stored, name, path) for name, path in self.data.languages.items()]
            start_from_all(model, stored, languages)

    def smoke(self: AnyDomain) -> AnyDomain:
        """Two steps on made-up signs, which no run has spotted: they start from chance."""
        return dataclasses.replace(super().smoke(), initial_run="")

    def _stored(self) -> "Bundle | None":
        """What is gone on with; None for --smoke."""
        from signwave import bundle

        if self.weights_path:
            raise ConfigError(f"weights_path={self.weights_path}: everything comes from initial_run; leave it out")
        if not self.initial_run:
            if isinstance(self.data, MovingSigns):
                return None
            raise ConfigError("initial_run is empty; name the run of a recipe *_islr that `slr spot` was given")
        stored = bundle.load(self.initial_run)
        if stored.kind != ISOLATED_KIND:
            raise ConfigError(
                f"initial_run={self.initial_run}: a model of kind '{stored.kind}', not '{ISOLATED_KIND}'; name a run "
                "of a recipe *_islr"
            )
        return stored


def check_same(stored: "Bundle", recipe: DomainRecipe) -> None:
    """Compare the settings that fix what weights mean.

    Raises:
        ConfigError: one differs; the message gives the setting that makes it the same.
    """
    trunk = {**dataclasses.asdict(recipe.model), "vocab_size": stored.config["trunk"].get("vocab_size")}
    data = recipe.data
    own: dict[str, Any] = {"model's kind": kind_of(recipe.model.build(vocab_size=2))}
    theirs: dict[str, Any] = {"model's kind": stored.config["trunk_kind"]}
    own |= {f"model.{name}": value for name, value in trunk.items()}
    theirs |= {f"model.{name}": value for name, value in stored.config["trunk"].items()}
    for name in ("classifier", "scale"):
        own[name], theirs[name] = getattr(recipe, name), stored.config[name]
    for name in ("rate_hz", "window_frames"):
        own[f"data.{name}"], theirs[f"data.{name}"] = getattr(data, name), stored.info[name]
    if "size_px" in stored.info:
        own["data.height_px"], own["data.width_px"] = data.height_px, data.width_px
        theirs["data.height_px"], theirs["data.width_px"] = stored.info["size_px"]
    for name, value in own.items():
        if theirs.get(name, value) != value:
            raise ConfigError(
                f"initial_run={recipe.initial_run}: was trained with {name}={theirs[name]}, not {value}; give "
                f"{name}={theirs[name]}"
            )


def language_of(stored: "Bundle", name: str, source: str) -> str:
    """The language of a run whose classifier a dictionary takes over.

    Args:
        stored: the run.
        name: of the dictionary.
        source: its file.

    Raises:
        ConfigError: there are several and none is meant.
    """
    from slr.crosslingual.segments import SUFFIX, read_segments

    known = list(stored.info["glosses"])
    if name in known:
        return name
    spotted = read_segments(source).header.language if source.endswith(SUFFIX) else ""
    if spotted in known:
        return spotted
    if len(known) == 1:
        return str(known[0])
    raise ConfigError(
        f"data.languages.{name}={source}: the run {stored.folder} has classifiers of {', '.join(known)}; name the "
        "dictionary after the one whose glosses it has"
    )


def start_from_all(model: "IsolatedSigns", stored: "Bundle", languages: Sequence[str]) -> None:
    """Copy trunk and classifiers of a run.

    Args:
        model: gets them.
        stored: the run.
        languages: for each of the model's languages, the one of the run.

    Raises:
        ConfigError: the run lacks a weight, or has it in another shape.
    """
    given, own = stored.state_dict(), model.state_dict()
    numbers = {place: list(stored.config["num_classes"]).index(name) for place, name in enumerate(languages)}
    taken = {name: given.get(_name_there(name, numbers)) for name in own}
    wrong = [name for name, value in taken.items() if value is None or value.shape != own[name].shape]
    if wrong:
        raise ConfigError(
            f"initial_run={stored.folder}: has no '{_name_there(wrong[0], numbers)}' of this model's shape; give a run "
            "with the same model settings"
        )
    model.load_state_dict({name: value for name, value in taken.items() if value is not None})


def _name_there(name: str, numbers: Mapping[int, int]) -> str:
    """What the run calls a weight: its classifiers are numbered in the order of its languages."""
    first, *rest = name.split(".")
    if first != "classifiers":
        return name
    stream, number, *last = rest
    return ".".join([first, stream, str(numbers[int(number)]), *last])
