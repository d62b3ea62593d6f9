"""Installs brainjax. Extras: `cuda` (GPU), `native` (oneDNN's convolutions on CPU), `dicom` (folders of DICOM files),
`app` (the viewer), `ray` (sweeps on a cluster), `beam` (preparing data on one), `test` (what the tests need, linting
included), `parity` (the reference libraries, to test the importers of weights against them), `bench` (the peers that
`experiments.benchmark` measures beside ours; they may live in an environment of their own)."""

import pathlib
import re

from setuptools import find_packages, setup

_here = pathlib.Path(__file__).parent
_version = re.search(r'__version__ = "(.+?)"', (_here / "brainjax/__init__.py").read_text())[1]
# brainjax.native compiles its source against it where it runs; there are wheels for this platform alone.
_ONEDNN = [
    f"onednn-{part}>=2023.2; sys_platform == 'linux' and platform_machine == 'x86_64'"
    for part in ("cpu-gomp", "devel-cpu-gomp")
]
# Series in, and segmentations out, for which there is no wheel for newer Pythons.
_DICOM = ["pydicom>=3.0", "highdicom>=0.25; python_version < '3.14'"]
_RELEASE = ("model.safetensors", "config.json", "SHA256SUMS", "MODEL_CARD.md")

setup(
    name="brainjax",
    version=_version,
    description="Brain-MRI deep learning in pure JAX",
    long_description=(_here / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["brainjax", "brainjax.*"]), "brainjax.checkpoints"],
    # The released models travel in the wheel, so that the command line works without a clone.
    package_dir={"brainjax.checkpoints": "checkpoints"},
    package_data={
        "brainjax.native": ["*.cc", "*.h"],
        "brainjax.synth": ["*.npz"],
        "brainjax.app": ["assets/*"],
        "brainjax.checkpoints": [f"*/{name}" for name in _RELEASE],
    },
    entry_points={"console_scripts": ["brainjax=brainjax.cli:main"]},
    install_requires=[
        "jax>=0.10",
        "flax>=0.12.8",
        "optax>=0.2.8",
        "orbax-checkpoint>=0.12",
        "nibabel>=5.3",
        "numpy>=2.0",
        "scipy>=1.14",
        "scikit-image>=0.25",
        "pillow>=11.0",
        "matplotlib>=3.9",
        "safetensors>=0.5",
        "h5py>=3.11",
        "tqdm>=4.66",
        "tensorboardX>=2.6",
        "absl-py>=2.1",
        "ml-collections>=1.0",
        # TensorFlow only feeds data, and only where it is installed: its CPU build is enough. Its wheels
        # set the newest Python that gets the tf.data feed; training from arrays needs none of it.
        # There is no tensorflow-cpu for ARM, where tensorflow itself is a CPU build.
        "tensorflow-cpu>=2.20; python_version < '3.14' and platform_machine in 'x86_64 AMD64'",
        "tensorflow>=2.20; python_version < '3.14' and platform_machine not in 'x86_64 AMD64'",
        "tensorflow-datasets>=4.9.9; python_version < '3.14'",
        "array-record>=0.8; python_version < '3.14'",
    ],
    extras_require={
        "cuda": ["jax[cuda13]>=0.10"],
        "native": _ONEDNN,
        "dicom": _DICOM,
        "ray": ["ray>=2.40"],
        "beam": ["apache-beam>=2.72"],
        "app": ["dash>=4.0", "plotly>=6.0"],
        "parity": [
            *("torch>=2.6", "torchvision>=0.21", "keras>=3.8", "efficientnet-lite-pytorch>=0.1"),
        ],
        "bench": [
            *("torch>=2.6", "torchvision>=0.21", "monai>=1.5", "keras>=3.8", "torchio>=1.0"),
            *("deepbet>=1.0", "hd-bet>=2.0"),
        ],
        "test": [
            *("pytest>=8.0", "pytest-xdist>=3.6", "hypothesis>=6.100", "ruff~=0.17.5"),
            *("dash>=4.0", "plotly>=6.0", "selenium>=4.20"),
            *_DICOM,
            *_ONEDNN,
            *("nbclient>=0.10", "nbformat>=5.10", "ipykernel>=6.29"),
        ],
    },
)
