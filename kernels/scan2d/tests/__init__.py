"""Tests of scan2d. They need torch, numpy, pytest and hypothesis; backends that cannot run are skipped."""
