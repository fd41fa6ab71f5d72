"""Run by torchrun: train or forecast from a pickled configuration."""

import pickle
import sys
from pathlib import Path

from fourcast.config import TrainConfig
from fourcast.forecast.ensemble import forecast
from fourcast.train.loop import train

if __name__ == "__main__":
    config = pickle.loads(Path(sys.argv[1]).read_bytes())
    train(config) if isinstance(config, TrainConfig) else forecast(config)
