"""From a config to a trained model: state, step, drivers, checkpoints, the loop."""
