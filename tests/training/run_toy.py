"""Train the toy modality in a process of its own: ``python -m tests.training.run_toy CONFIG [--resume]``."""

import sys

import torch

from scoregen import modality
from scoregen.training.config import load_config
from scoregen.training.loop import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    modality._SHIPPED["toy"] = "tests.training.toy:TOY"
    train(load_config(sys.argv[1]), resume="--resume" in sys.argv)
