"""Recursions of named combinations of parts, written by hand for speed; every other combination runs the generic loop.

A kernel does what `PathStates.draw` does, with fewer operations a step and a gradient of its own: `choice` says which
combinations have one, `lstm_gaussian` is one, on the workspace of `window`.
"""
