"""Drivers: one way each to run one kind of model, behind one small interface."""
