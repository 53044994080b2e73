"""Every pass by name, and pipelines of them in text. A pass is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from xdsl.passes import ModulePass, PassPipeline


def _lazy(module: str, name: str) -> Callable[[], type[ModulePass]]:
    return lambda: getattr(import_module(f"convc.{module}"), name)


PASSES: Mapping[str, Callable[[], type[ModulePass]]] = {
    "assign-layouts": _lazy("passes.assign_layouts", "AssignLayouts"),
    "canonicalise": _lazy("passes.canonicalise", "Canonicalise"),
    "choose-algorithms": _lazy("targets.cpu.algorithms", "ChooseAlgorithms"),
    "choose-gpu-algorithms": _lazy("targets.cuda.algorithms", "ChooseGpuAlgorithms"),
    "find-shuffles": _lazy("passes.find_shuffles", "FindShuffles"),
    "find-views": _lazy("passes.find_views", "FindViews"),
    "fold-batch-norm": _lazy("passes.fold_batch_norm", "FoldBatchNorm"),
    "fold-conv-scale": _lazy("passes.fold_conv_scale", "FoldConvScale"),
    "fold-pads": _lazy("passes.fold_pads", "FoldPads"),
    "fuse": _lazy("passes.fuse", "Fuse"),
    "fuse-depthwise": _lazy("targets.cpu.fuse_depthwise", "FuseDepthwise"),
    "fuse-prologues": _lazy("passes.fuse_prologues", "FusePrologues"),
    "gather-strides": _lazy("passes.gather_strides", "GatherStrides"),
    "hoist-strides": _lazy("passes.hoist_strides", "HoistStrides"),
    "narrow": _lazy("passes.narrow", "Narrow"),
    "outline-relayouts": _lazy("passes.outline_relayouts", "OutlineRelayouts"),
    "pair-groups": _lazy("passes.pair_groups", "PairGroups"),
    "prepack-weights": _lazy("passes.prepack_weights", "PrepackWeights"),
    "recognise-activations": _lazy("passes.recognise_activations", "RecogniseActivations"),
    "select": _lazy("targets.select", "Select"),
    "split-phases": _lazy("passes.split_phases", "SplitPhases"),
    "sum-taps": _lazy("passes.sum_taps", "SumTaps"),
    "trim-taps": _lazy("passes.trim_taps", "TrimTaps"),
}
"""In the order of the alphabet; `convc.pipeline` has the order in which they run."""


def pipeline(text: str) -> PassPipeline:
    """The passes of `canonicalise,fuse{mode=single}`. Raises ValueError for an unknown pass or option."""
    return PassPipeline.parse_spec(dict(PASSES), text)
