"""DCGAN with spectral normalisation: the generator, the discriminator, and the augmentation between them.

Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks", ICLR
2016; Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018; Zhao et al.,
"Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - the name that every PyTorch reader knows
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from fer_hierarchy.pt_files.gan_config import SIDE_STEP

LATENT = 100  # length of the noise that becomes a face; Radford et al.'s
_INITIAL_DEVIATION = 0.02  # of all convolution weights; Radford et al.'s
# Largest change of brightness (of 2, the full range) and of contrast, as a fraction. Zhao et al. take 0.5: from a few
# hundred grey faces the generator then learnt a contrast that no photograph has.
_RELIT = 0.1
_SHIFT = 0.125  # largest move of an image, as a fraction of its side; Zhao et al.'s


class Generator(nn.Module):
    """Noise to faces: a small map, doubled four times by transposed convolutions with batch normalisation and ReLU.

    Args:
        size: Side of the faces in pixels, a multiple of 16.
        channels: 1 (grey) or 3 (RGB).
        width: Maps before the last layer; each earlier layer has twice as many.
    """

    def __init__(self, *, size: int, channels: int, width: int) -> None:
        super().__init__()
        self.side, self.deepest = size // SIDE_STEP, width * 8  # four doublings lie between the first map and the image
        self.project = nn.Linear(LATENT, self.deepest * self.side**2, bias=False)
        self.norm = nn.BatchNorm2d(self.deepest)
        widths = (self.deepest, width * 4, width * 2, width)
        self.doublings = nn.Sequential(*(_doubling(a, b) for a, b in pairwise(widths)))
        self.paint = nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1)
        _initialise(self)

    def forward(self, noise: Tensor) -> Tensor:
        """Faces (n, channels, size, size) in [-1, 1] of noise (n, LATENT), both float32."""
        x = self.project(noise).view(-1, self.deepest, self.side, self.side)
        x = self.doublings(F.relu(self.norm(x)))
        return torch.tanh(self.paint(x))


def _doubling(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Discriminator(nn.Module):
    """Faces to one number, high for real ones: strided convolutions, spectral normalisation, no batch statistics.

    Args:
        size: Side of the faces in pixels, a multiple of 16.
        channels: 1 (grey) or 3 (RGB).
        width: Maps of the first layer; each later one has twice as many.
    """

    def __init__(self, *, size: int, channels: int, width: int) -> None:
        super().__init__()
        widths = (channels, width, width * 2, width * 4, width * 8)
        layers = [nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths)]
        self.halvings = nn.ModuleList(layers)
        self.judge = nn.Linear(width * 8 * (size // SIDE_STEP) ** 2, 1)
        _initialise(self)
        for layer in (*layers, self.judge):
            spectral_norm(layer)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (n,) of faces (n, channels, size, size) in [-1, 1], both float32."""
        for layer in self.halvings:
            images = F.leaky_relu(layer(images), 0.2)
        return self.judge(images.flatten(1))[:, 0]


def _initialise(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, std=_INITIAL_DEVIATION)


def augmented(images: Tensor, random: torch.Generator) -> Tensor:
    """Random variants that gradients pass through: brightness, contrast, shift and mirror.

    The discriminator sees real and generated faces through it alike, so that few real faces last for long and the
    generator still learns to draw them as they are (Zhao et al., 2020).

    Args:
        images: (n, channels, size, size) float32 in [-1, 1].
        random: Source of all randomness.
    """
    count, size = len(images), images.shape[-1]
    draws = torch.rand((5, count, 1, 1, 1), generator=random).to(images.device)
    images = images + _RELIT * (2 * draws[0] - 1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * (1 + _RELIT * (2 * draws[1] - 1)) + mean
    images = torch.where(draws[2] < 0.5, images, images.flip(3))
    reach = round(_SHIFT * size)
    moves = (draws[3:, :, 0, 0, 0] * (2 * reach + 1)).long()  # (2, n) pixels from 0 to 2 * reach
    steps = torch.arange(size, device=images.device)
    rows = (moves[0, :, None] + steps)[:, None, :, None]
    columns = (moves[1, :, None] + steps)[:, None, None, :]
    padded = F.pad(images, (reach,) * 4)
    return padded[torch.arange(count)[:, None, None, None], torch.arange(images.shape[1])[:, None, None], rows, columns]
