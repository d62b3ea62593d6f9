"""From stored slices to what a network sees: normalisation on the host, resampling on the device."""
