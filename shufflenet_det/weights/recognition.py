"""Finding a ShuffleNet among a file's tensors, by names and shapes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from .channels import NoConversionError, Tensors, exchange_v2, fold_biases, reverse, shuffle_v1
from .files import Checkpoint
from .layouts import LAYOUTS, OURS, Layout, Pixels
from .networks import UNSEEN, Network, measure

# How each layout of ShuffleNetV2 exchanges channels, and what its max-pooling pads.
_WAYS = {
    "torchvision": ("halves", 1),
    "paper": ("parity", 1),
    "pytorchcv": ("halves", 0),
    "pytorchcv_b": ("halves", 1),
}
# Words for averaged weights in a prefix; these are taken where there are several.
_AVERAGED = {"avg_model", "ema", "model_ema", "ema_model"}
_PADDLE_LEAVES = {"_mean": "running_mean", "_variance": "running_var"}


@dataclass(frozen=True)
class Weights:
    """The tensors of one ShuffleNet, by this package's names.

    Attributes:
        name: What their checkpoint was asked for as.
        layout: Whose names they had.
        tensors: The backbone's. Units of a V1 may shuffle last (``layout.shuffle_last``).
        network: What their shapes are.
        computes: The arguments of ``UNSEEN`` that the source's network has here; empty where the
            file does not tell.
        left_over: Names among the backbone's that nothing is known of.
        classifier: ``weight`` (classes, channels) and ``bias`` (classes) of the linear layer
            behind the global pooling, as far as there are any.
        pixels: The images that they were trained on; None where the file does not tell.
    """

    name: str
    layout: Layout
    tensors: Tensors
    network: Network
    computes: Mapping[str, Any]
    left_over: tuple[str, ...]
    classifier: Tensors
    pixels: Pixels | None

    def converted(self, keys: Collection[str], computes: Mapping[str, Any]) -> Tensors:
        """The tensors for a network of the same shape that may compute in another way.

        Args:
            keys: Those wanted; of each unit all or none.
            computes: The arguments of ``UNSEEN`` that the network wanted has.

        Returns:
            The tensors of ``keys``.

        Raises:
            NoConversionError: No exact conversion exists.
        """
        tensors = {key: tensor for key, tensor in self.tensors.items() if key in keys}
        own = self.computes or computes
        if own == computes and not self.layout.shuffle_last:
            return tensors
        if not any(key.endswith("running_mean") for key in tensors):
            raise NoConversionError("channels cannot move through other layers than BatchNorm")
        if self.network.name == "ShuffleNetV2":
            (old, old_pad), (new, new_pad) = (
                _WAYS.get(layout, (layout, layout))
                for layout in (own["layout"], computes["layout"])
            )
            if old_pad != new_pad:
                raise NoConversionError("they pool the stem's output in other places")
            if own["residual"] != computes["residual"]:
                raise NoConversionError("one adds a residual path, the other does not")
            if old == new:
                return tensors
            standard = OURS["ShuffleNetV2"].modules().values()
            if own["residual"] or any(key.rpartition(".")[0] not in standard for key in tensors):
                raise NoConversionError("channels move between Table 5's units only")
            return exchange_v2(tensors, old, new)
        if own["stem_act"] != computes["stem_act"]:
            raise NoConversionError("one has an activation in the stem, the other has none")
        return shuffle_v1(
            tensors,
            self.network.groups or 1,
            own["shuffle"],
            computes["shuffle"],
            shuffle_last=self.layout.shuffle_last,
        )


def recognise(checkpoint: Checkpoint, prefix: str | None = None) -> Weights | None:
    """Find the backbone in a checkpoint and give its tensors this package's names.

    Args:
        checkpoint: An opened file.
        prefix: Look only at names that begin so, behind ``module.`` or not; None: everywhere.

    Returns:
        The weights; None if the names are not those of a known ShuffleNet.

    Raises:
        ValueError: The names are of several backbones; or as :func:`read`.
    """
    names = checkpoint.tensors
    by_anchors = {layout.anchors(): layout for layout in (*LAYOUTS.values(), *OURS.values())}
    found = {
        name.removesuffix(stem): layout
        for (stem, unit), layout in by_anchors.items()
        for name in names
        if f".{name}".endswith(f".{stem}") and f"{name.removesuffix(stem)}{unit}" in names
    }
    found = {place: layout for place, layout in found.items() if is_asked_for(place, prefix)}
    if not found:
        return None
    place = _one_of(list(found), checkpoint.name)
    below = {k.removeprefix(place): v for k, v in names.items() if k.startswith(place)}
    layout = _source(found[place], place, names, below)
    beside = {k.removeprefix(place.removesuffix("backbone.")): v for k, v in names.items()}
    return read(checkpoint.name, layout, below, beside, checkpoint.stated.get(place, {}))


def is_asked_for(place: str, prefix: str | None) -> bool:
    """Whether the beginning of names is the ``prefix`` that somebody gave; None allows all."""
    return prefix is None or place.removeprefix("module.").rstrip(".") == prefix.rstrip(".")


def read(
    name: str,
    layout: Layout,
    below: Mapping[str, Tensor],
    beside: Mapping[str, Tensor],
    stated: Mapping[str, Any],
) -> Weights:
    """Give tensors this package's names.

    Args:
        name: What the checkpoint was asked for as.
        layout: Whose names they have.
        below: The backbone's.
        beside: Those of the whole network.
        stated: What a file of this package states of the network.

    Returns:
        The weights.

    Raises:
        ValueError: A tensor is not finite.
    """
    own = layout in OURS.values()
    modules = layout.modules()
    linear = tuple(f"{module}." for module in layout.classifier)
    tensors, left_over = {}, []
    for key, tensor in below.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise ValueError(
                f"{name!r}: {key} is not finite (NaN or infinite): the file is damaged, nothing "
                "was loaded"
            )
        module, _, leaf = key.rpartition(".")
        if module in modules or (own and not key.startswith(linear)):
            tensors[f"{modules.get(module, module)}.{_PADDLE_LEAVES.get(leaf, leaf)}"] = tensor
        elif not key.startswith(linear):
            left_over.append(key)
    classifier = {
        key.removeprefix(prefix): tensor
        for key, tensor in {**beside, **below}.items()
        for prefix in linear
        if key.startswith(prefix)
    }
    if not own:
        tensors = fold_biases(tensors, bare_stem=not layout.stem[1])
    if layout.pooled_last:
        tensors = reverse(tensors)
        classifier = {k: v.flip(1) if k == "weight" else v for k, v in classifier.items()}
    unseen = UNSEEN[layout.network]
    computes = {**unseen, **layout.computes} if layout.computes else {}
    if unseen.keys() & stated.keys():
        computes = {key: stated.get(key, value) for key, value in unseen.items()}
    network = measure(layout.network, tensors)
    if computes.get("layout") == "pytorchcv_b" and network.splits_in_halves:
        computes["layout"] = "torchvision"  # at 0.5x, 24 and C-24 channels are C/2 and C/2
    linear_weight = classifier.get("weight")
    if linear_weight is not None and linear_weight.shape[0] == network.conv5:
        if linear_weight.shape[1] != network.conv5:
            classifier["weight"] = linear_weight.T  # Paddle keeps (channels, classes)
    pixels = None if own else layout.pixels
    if "data_preprocessor" in stated:
        pixels = Pixels.of(stated["data_preprocessor"])
    return Weights(name, layout, tensors, network, computes, tuple(left_over), classifier, pixels)


def _one_of(prefixes: list[str], name: str) -> str:
    averaged = [prefix for prefix in prefixes if _AVERAGED.intersection(prefix.split("."))]
    chosen = averaged if len(prefixes) > 1 else prefixes
    if len(chosen) != 1:
        raise ValueError(
            f"{name!r} holds several backbones ({', '.join(map(repr, prefixes))}): say which one "
            "with prefix=… beside checkpoint=…"
        )
    return chosen[0]


def _source(
    layout: Layout, prefix: str, names: Mapping[str, Tensor], below: Mapping[str, Tensor]
) -> Layout:
    """Tell apart three sources that have the same names for V2."""
    if layout is not OURS["ShuffleNetV2"]:
        return layout
    detector = prefix.removesuffix("backbone.")
    in_nanodet = prefix.endswith("model.backbone.") or (
        prefix != detector and any(name.startswith(f"{detector}fpn.") for name in names)
    )
    if in_nanodet or "stage4.conv5.0.weight" in below:
        return LAYOUTS["nanodet"]
    return LAYOUTS["torchvision"] if "fc.weight" in below else layout
