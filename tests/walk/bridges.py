"""A flow over a bridge, and a world in which the bridge learns nothing by it."""

from tests.walk.worlds import World, flow, pod_network

POD_TO_POD = flow("pod1", "10.244.1.3", 9376)


def known_neighbours() -> World:
    """A world where nobody has to ask by ARP, so that the bridge learns nothing from it."""
    world = pod_network()
    world["pod1"].neighbour("eth0", "10.244.1.3", world.mac("pod2", "eth0"), "reachable")
    world["pod2"].neighbour("eth0", "10.244.1.2", world.mac("pod1", "eth0"), "stale")
    return world
