"""Load and run artifacts, with numpy alone: neither the compiler nor TVM is imported.

Loading an artifact runs the machine code in it: load only what you or someone you trust has built.
"""

from convc.artifact.manifest import ArtifactError
from convc.runtime.arrays import InputError
from convc.runtime.executable import Executable, StepTime, lacking, load

__all__ = ["ArtifactError", "Executable", "InputError", "StepTime", "lacking", "load"]
