"""Checks of one model, or of a model against a second one, without any attribution method.

They say whether the model is one that the other protocols can fairly be run on.
"""
