"""Are explanations right? Metrics of attributions, and where the evidence is known, how well it is found."""
