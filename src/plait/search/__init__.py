"""Training-aware architecture search: a network fitted to the pictures and to the machine (Tan & Le 2021)."""
