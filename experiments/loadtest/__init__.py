"""A large installation, written down as the run engine would have left it. For measuring, never for use."""
