"""What can go wrong at the device, by the party at fault.

DeviceError
├── DriverMissing   no NVIDIA driver on this node
├── GpuLost         the GPU fell off the bus or answers no more
├── Unsupported     this driver or GPU cannot do it
└── MpsUnreachable  the MPS control daemon does not answer
"""

from __future__ import annotations


class DeviceError(Exception):
    """A GPU or its driver did not do what was asked."""


class DriverMissing(DeviceError):
    """No NVIDIA driver on this node."""


class GpuLost(DeviceError):
    """The GPU fell off the bus or answers no more."""


class Unsupported(DeviceError):
    """This driver or GPU cannot do it."""


class MpsUnreachable(DeviceError):
    """The MPS control daemon of a GPU does not answer."""
