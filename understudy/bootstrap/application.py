from understudy.bootstrap.backends import Backends
from understudy.bootstrap.gateway import Gateway
from understudy.bootstrap.parts import Parts
from understudy.bootstrap.worker import Worker
from understudy.config import Config


class Application(Parts):
    """Gateway and node in one operating system process: what `dev` runs.

    `is_alone` promises that no other node uses the same database.
    """

    def __init__(self, config: Config, *, is_alone: bool = False) -> None:
        backends = Backends(config)
        self.worker = Worker(config, backends, is_alone=is_alone, has_endpoint=False)
        self.gateway = Gateway(config, backends, self.worker)
        super().__init__(backends, self.worker, self.gateway)
