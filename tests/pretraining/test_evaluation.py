"""``--eval-only --weights FILE`` gives the accuracy of the checkpoint's own implementation.

Each source's network has random weights and a linear layer that is fitted to its features of the
images, with its own preprocessing. It classifies all images correctly, except those that lie in a
wrong folder. Other preprocessing, channels or weights would lower the accuracy.
"""

import numpy as np
import pytest
import torch
from PIL import Image
from random_parts import random_image, randomise
from torch import nn
from torchvision import transforms
from torchvision.models import ShuffleNet_V2_X0_5_Weights, get_model

CLASSES, IMAGES = 6, 30
WRONG = 7  # images in a wrong folder


def labels():
    right = np.arange(IMAGES) % CLASSES
    return right, np.where(np.arange(IMAGES) < WRONG, (right + 1) % CLASSES, right)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder, and its images in the order of :func:`labels`."""
    root = tmp_path_factory.mktemp("evaluation")
    rng = np.random.default_rng(0)
    images = [Image.fromarray(random_image(rng, 300, 260)) for _ in range(IMAGES)]
    for i, (image, label) in enumerate(zip(images, labels()[1], strict=True)):
        path = root / "val" / f"class_{label}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)
    return root, images


def fitted(features):
    """The weight (classes, channels) that ranks the correct class first, the others by index."""
    right = nn.functional.one_hot(torch.as_tensor(labels()[0]), CLASSES).double()
    targets = 2 * right - torch.arange(CLASSES) / CLASSES
    return torch.linalg.lstsq(features.double(), targets, driver="gelsd").solution.T.float()


def accuracy(logits):
    """(top-1, top-5) in % by torch's ranking."""
    found = logits.topk(5, dim=1).indices == torch.as_tensor(labels()[1])[:, None]
    return tuple(100 * found[:, :k].any(1).double().mean().item() for k in (1, 5))


@pytest.fixture
def printed(tool, root, folder, tmp_path, capsys):
    """Evaluate a state_dict; returns the program's last line."""

    def run(state, config="shufflenetv1_imagenet.py"):
        torch.save(state, tmp_path / "weights.pth")
        tool(
            *("pretrain.py", root / "configs/pretrain" / config, "--data-root", folder[0]),
            *("--eval-only", "--weights", tmp_path / "weights.pth", "--work-dir", tmp_path),
            *("--cfg-options", "val_dataloader.num_workers=0", "val_dataloader.batch_size=10"),
            "val_dataloader.persistent_workers=False",
        )
        return capsys.readouterr().out.splitlines()[-1]

    return run


def line(top1, top5):
    return f"accuracy/top1 {top1:.2f} %, accuracy/top5 {top5:.2f} %"


@pytest.mark.parametrize("config", ["shufflenetv1_imagenet.py", "shufflenetv2_2x_imagenet.py"])
def test_torchvisions_accuracy_with_any_config(folder, printed, config):
    model = randomise(get_model("shufflenet_v2_x0_5", weights=None, num_classes=CLASSES)).eval()
    prepare = ShuffleNet_V2_X0_5_Weights.IMAGENET1K_V1.transforms()
    x = torch.stack([prepare(image) for image in folder[1]])
    head, model.fc = model.fc, nn.Identity()
    with torch.no_grad():
        features = model(x)
        head.weight.copy_(fitted(features))
        head.bias.zero_()
        model.fc = head
        expected = accuracy(model(x))
    assert expected[0] == pytest.approx(100 * (IMAGES - WRONG) / IMAGES)
    assert printed(model.state_dict(), config) == line(*expected)


IMAGENET = transforms.Compose(
    [transforms.ToTensor(), transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
)


def bgr(image):
    """BGR, 0 to 255."""
    return torch.from_numpy(np.asarray(image)[..., ::-1].copy()).permute(2, 0, 1).float()


# {source: (its network among published_networks, arguments, pixels, linear layer, its bias)}
SOURCES = {
    "the authors' V1": ("megvii_v1", (3, 12, (120, 240, 480)), bgr, "classifier.0", False),
    "the authors' V2": ("megvii_v2", ((48, 96, 192), 1024), bgr, "classifier.0", False),
    "OpenMMLab's V1": ("openmmlab_v1", (3, 12, (120, 240, 480)), IMAGENET, "head.fc", True),
    "pytorchcv's V1": ("pytorchcv_v1", (3, 12, (120, 240, 480)), IMAGENET, "output", True),
}


@pytest.mark.parametrize("source", SOURCES)
def test_accuracy_of_other_sources(folder, printed, root, monkeypatch, source):
    monkeypatch.syspath_prepend(str(root / "tests" / "weights"))
    import published_networks

    function, arguments, pixels, linear, has_bias = SOURCES[source]
    crop = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    x = torch.stack([pixels(crop(image)) for image in folder[1]])
    tape = published_networks.Tape()
    with torch.no_grad():
        features = getattr(published_networks, function)(tape, x, *arguments)[-1].mean((2, 3))
        weight = fitted(features)
        expected = accuracy(features @ weight.T)
    assert expected[0] == pytest.approx(100 * (IMAGES - WRONG) / IMAGES)
    state = {**tape.state, f"{linear}.weight": weight}
    if has_bias:
        state[f"{linear}.bias"] = torch.zeros(CLASSES)
    assert printed(state) == line(*expected)
