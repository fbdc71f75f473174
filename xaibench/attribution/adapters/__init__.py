"""Methods of other packages as functions of evidence: captum's attribution classes, pytorch-grad-cam's CAM classes,
zennit's composites."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from xaibench.errors import XaibenchError


def adapted(thing: type, method: str) -> Callable[..., Tensor]:
    """A function of evidence that runs a class; its signature lists the parameters that a card may give.

    Raises XaibenchError for classes of other packages, and for those that do not explain the score of a class.
    """
    packages = {base.__module__.split(".")[0] for base in thing.__mro__}
    if "captum" in packages:
        from captum.attr import Attribution

        from xaibench.attribution.adapters.captum_method import CaptumMethod

        if issubclass(thing, Attribution):
            return CaptumMethod(thing)
    if "pytorch_grad_cam" in packages:
        from xaibench.attribution.adapters.cam_method import CamMethod, is_cam

        if is_cam(thing):
            return CamMethod(thing)
    if "zennit" in packages:
        from zennit.core import Composite

        from xaibench.attribution.adapters.zennit_method import ZennitMethod

        if issubclass(thing, Composite):
            return ZennitMethod(thing)
    raise XaibenchError(
        f"method {method}: {thing.__name__} is neither a function of evidence, nor an attribution class of captum, nor "
        "a CAM class of pytorch-grad-cam, nor a composite of zennit"
    )
