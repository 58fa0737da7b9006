"""Serves the function with gunicorn: one worker with threads, since a CUDA context belongs to a process."""

from __future__ import annotations

import os

from flask import Flask
from gunicorn.app.base import BaseApplication

from .app import make_app
from .settings import Settings, read_settings


class Serving(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn without its command line."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Not preloaded: the app, and with it CUDA, is made in the worker."""
        for key, value in {
            "bind": f"0.0.0.0:{self._settings.port}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": self._settings.threads,
            "timeout": 0,  # a gated launch may wait for long; the platform has the request's deadline
            "graceful_timeout": 25,
            "keepalive": 75,
            "worker_tmp_dir": "/dev/shm" if os.access("/dev/shm", os.W_OK) else None,
            "control_socket_disable": True,
        }.items():
            if key in self.cfg.settings:
                self.cfg.set(key, value)

    def load(self) -> Flask:
        """In the worker."""
        return make_app(self._settings)


if __name__ == "__main__":
    Serving(read_settings(os.environ)).run()
