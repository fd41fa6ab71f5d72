"""Run by torchrun: train, then forecast, from a pickled pair of configurations."""

import pickle
import sys
from pathlib import Path

from fourcast.forecast.ensemble import forecast
from fourcast.train.loop import train

if __name__ == "__main__":
    training, forecasting = pickle.loads(Path(sys.argv[1]).read_bytes())
    train(training)
    forecast(forecasting)
