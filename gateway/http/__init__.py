"""Figures and health over HTTP, for those who ask. Off unless the YAML names it."""

from gateway.http.server import Answer, HttpServer, Page

__all__ = ["Answer", "HttpServer", "Page"]
