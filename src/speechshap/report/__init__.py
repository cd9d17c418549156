"""Figures, sounds, TensorBoard, corpus statistics and the HTML page of explanations."""
