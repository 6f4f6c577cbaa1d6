"""Sequences as files: text and figures of them as JSON, arrays, pictures, sound and MIDI."""
