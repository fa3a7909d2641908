"""How the embedded backbone is made: procedural textures, augmentation, distillation, export. Not part of the
package.
"""
