"""Floors against a table worked out by hand for an H200 (790 TFLOP/s, 4.3 TB/s): 128 rollouts, G=8, LoRA of rank 32, bf16."""

import pytest
from journeyman.recipes.floors import decode_seconds, update_flops
from journeyman.trainers.estimate import Shape

FLOPS, BANDWIDTH = 790e12, 4.3e12
SMALL = Shape(28, 1024, 16, 8, 128, 3072, 151936, parameters=596_049_920, adapter=20_185_088)
MIDDLE = Shape(28, 2048, 16, 8, 128, 6144, 151936, parameters=1_720_574_976, adapter=34_865_152)
TABLE = [
    (SMALL, 256, 256, 0.41, 0.20, 0.13), (MIDDLE, 256, 256, 0.54, 0.55, 0.34),
    (SMALL, 256, 1024, 2.97, 0.60, 0.53), (MIDDLE, 256, 1024, 3.50, 1.53, 1.31),
    (SMALL, 2048, 256, 1.97, 1.07, 0.29), (MIDDLE, 2048, 256, 2.11, 2.58, 0.64),
    (SMALL, 8192, 256, 7.34, 7.24, 1.24), (MIDDLE, 8192, 256, 7.48, 12.7, 2.09),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "P", "C", "decode", "plain", "shared"), TABLE)
def test_the_table(shape, P, C, decode, plain, shared):
    for way, seconds in ((False, plain), (True, shared)):
        assert update_flops(shape, [P] * 16, [C] * 128, 8, way) / FLOPS == pytest.approx(seconds, rel=0.02, abs=0.006)
    # The table leaves most of the prompts' own reading out.
    assert decode_seconds(shape, P, C, 128, 8, FLOPS, BANDWIDTH) == pytest.approx(decode, rel=0.09)
