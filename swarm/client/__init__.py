"""The client: submit a request, follow its job, read its answer, cancel it."""

from swarm.client.client import SwarmClient
from swarm.client.job import Job

__all__ = ["Job", "SwarmClient"]
