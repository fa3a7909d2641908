"""Training of the embedded backbone: procedural textures, augmentation, distillation, export. Not part of the package."""
