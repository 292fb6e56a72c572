"""The node with faults that a test switches on and off, as those of a GPU: a file in the folder $FAULTS is a fault.

load    loading takes as many seconds as the file says
frame   each frame takes as many seconds more as the file says, or until the file is gone
raise   each frame raises RuntimeError with the text of the file
draw    drawing an overlay takes as many seconds as the file says, or until the file is gone
paint   drawing an overlay raises RuntimeError with the text of the file
close   giving back the model raises RuntimeError with the text of the file
stuck   giving back the model never returns from a call into a library
inputs  unsubscribing raises RuntimeError with the text of the file, once all is unsubscribed
facts   asking the model for its device and memory raises RuntimeError with the text of the file
"""

import ctypes
import os
import sys
import time
from pathlib import Path

from spda_sam_core.spda_sam import SpdaSam
from spda_sam_ros import camera_session, node, pictures


def fault(name):
    try:
        return (Path(os.environ["FAULTS"]) / name).read_text()
    except FileNotFoundError:
        return None


def take_time(name):
    began = time.monotonic()
    while (seconds := fault(name)) is not None and time.monotonic() - began < float(seconds):
        time.sleep(0.02)


def or_raise(name, function):
    def call():
        if name == "close" and fault("stuck") is not None:
            mutex = ctypes.create_string_buffer(64)  # zeros: one that is not recursive, so that it waits for itself
            for _ in range(2):
                ctypes.CDLL(None).pthread_mutex_lock(mutex)
        if (text := fault(name)) is not None:
            raise RuntimeError(text)
        return function()

    return call


class FaultySpdaSam(SpdaSam):
    @classmethod
    def from_pretrained(cls, *arguments, **options):
        take_time("load")
        model = super().from_pretrained(*arguments, **options)
        for name in ("close", "facts"):
            setattr(model.runtime, name, or_raise(name, getattr(model.runtime, name)))
        return model

    def predict_batch(self, *arguments, **options):
        take_time("frame")
        if (text := fault("raise")) is not None:
            raise RuntimeError(text)
        return super().predict_batch(*arguments, **options)


class FaultyInputs(camera_session.Inputs):
    def destroy(self):
        super().destroy()
        if (text := fault("inputs")) is not None:
            raise RuntimeError(text)


def draw_instances(*arguments):
    take_time("draw")
    return or_raise("paint", lambda: draw_as_usual(*arguments))()


draw_as_usual = pictures.draw_instances
pictures.draw_instances = draw_instances
node.SpdaSam = FaultySpdaSam
camera_session.Inputs = FaultyInputs

if __name__ == "__main__":
    sys.exit(node.main())
