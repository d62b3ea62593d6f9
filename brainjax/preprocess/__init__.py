"""From files to what a network sees, and back: normalisation and 3D geometry on the host, 2D resampling on the device."""
