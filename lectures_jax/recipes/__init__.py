"""One family of models each, trained the usual way: settings and data in, a trained model out."""
