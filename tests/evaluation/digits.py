"""1,797 handwritten digits of 8 by 8 pixels: digits.csv.gz, as scikit-learn 1.9 ships it.

The test set of "Optical Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998), UCI Machine Learning
Repository, https://archive.ics.uci.edu/dataset/80, CC BY 4.0: a row a digit, 64 pixels from 0 to 16, then its class.
"""

from pathlib import Path

import numpy as np

from evaluation.features import Features

CLASSES = [str(digit) for digit in range(10)]


def read_digits() -> Features:
    rows = np.loadtxt(Path(__file__).with_name("digits.csv.gz"), delimiter=",")
    ids = tuple(f"{number:04}" for number in range(len(rows)))
    return Features(ids, rows[:, :-1].astype(np.float32), rows[:, -1].astype(np.int64))
