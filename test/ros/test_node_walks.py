"""Random walks through the lifecycle: done is what the state has, refused what it has not, and all is freed."""

import os
import random

import pytest
from lifecycle_msgs.msg import Transition
from node_bench import picture

WALKS = 50
STEPS = 10
DONE = {
    ("unconfigured", "configure"): "inactive",
    ("inactive", "activate"): "active",
    ("active", "deactivate"): "inactive",
    ("inactive", "cleanup"): "unconfigured",
}
TRANSITIONS = ("configure", "activate", "deactivate", "cleanup")
OUTPUTS = ("instances", "detections", "detections_3d", "measurements", "overlay", "depth", "label_info")


def image_only(header):
    return {"image": picture(header)}


def step(robot, state, transition):
    """Ask for a transition; the state after it, which is what it must be."""
    after = DONE.get((state, transition))
    assert robot.transition(transition) == (after is not None)
    state = after or state
    assert robot.state() == state
    return state


def topics(robot):
    """How many of the node's outputs are published, and of its inputs subscribed to."""
    published = [t for t in OUTPUTS if robot.node.get_publishers_info_by_topic(f"/spda_sam/{t}")]
    heard = [t for t in ("image", "depth", "camera_info") if robot.node.get_subscriptions_info_by_topic(f"/{t}")]
    return len(published), len(heard)


def threads(node):
    return len(os.listdir(f"/proc/{node.process.pid}/task"))


def choose(generator, state):
    """Any transition, but in two of three cases one that the state has, so that a walk gets somewhere."""
    possible = [transition for transition in TRANSITIONS if (state, transition) in DONE]
    return generator.choice(possible if generator.random() < 2 / 3 else TRANSITIONS)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_walks(start, tiny_checkpoint):
    """With WALK_SEED=<number> in the environment, the walks of a run that failed."""
    seed = int(os.environ.get("WALK_SEED", random.randrange(10**6)))
    print(f"WALK_SEED={seed}")
    generator = random.Random(seed)
    expected = {"unconfigured": (0, 0), "inactive": (len(OUTPUTS), 0), "active": (len(OUTPUTS), 3)}
    with start({"checkpoint": tiny_checkpoint, "autostart": "false"}) as (node, robot):
        settled = 0
        for walk in range(WALKS):
            state = "unconfigured"
            for _ in range(STEPS):
                transition = choose(generator, state)
                print(f"walk {walk}: {transition} in {state}")
                state = step(robot, state, transition)
                if generator.random() < 0.5:
                    robot.publish(image_only)
                    robot.spin(generator.uniform(0, 0.05))
            robot.wait_until(lambda s=state: topics(robot) == expected[s], f"the topics of {state}", deadline_s=10)
            assert robot.diagnostics()[1]["state"] == state
            if state == "active":
                robot.segment(image_only)
                state = step(robot, state, "deactivate")
            if state == "inactive":
                state = step(robot, state, "cleanup")
            if walk == 2:  # by then every thread that stays has begun
                settled = threads(node)
        assert threads(node) <= settled + 1
        assert "Traceback" not in node.log.read_text()
        assert robot.transition(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
        assert robot.state() == "finalized"
        assert node.stop() == 0
