"""Random images and random weights."""

import numpy as np
from PIL import Image
from torch import Generator, nn


def randomise(model, seed=0):
    """Random weights and running statistics that keep activations in range."""
    generator = Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(layer.bias, generator=generator)
            nn.init.normal_(layer.running_mean, generator=generator)
            nn.init.uniform_(layer.running_var, 0.5, 1.5, generator=generator)
    return model


def random_image(rng, height, width):
    """A colour of its own with noise upon it, (H, W, 3) RGB."""
    noise = rng.integers(-40, 41, (height, width, 3))
    return np.clip(rng.integers(0, 256, 3) + noise, 0, 255).astype(np.uint8)


def write_images(folder, counts, seed=0):
    """``counts`` of {class: images} as PNG, of several sizes."""
    rng = np.random.default_rng(seed)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            image = random_image(rng, *rng.integers(40, 80, 2))
            Image.fromarray(image).save(folder / name / f"{i}.png")
    return folder
