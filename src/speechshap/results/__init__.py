"""The record of an explanation, and the folder that a run leaves behind."""
