"""Code that gives scores. One small class and one file for each kind; `registry` lists them."""
