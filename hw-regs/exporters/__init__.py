# SPDX-License-Identifier: GPL-2.0-only OR MIT
"""Turns the SystemRDL source into the generated files. See ../README.md."""
