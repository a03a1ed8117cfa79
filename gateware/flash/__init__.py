"""The configuration flash: controller and pins."""
