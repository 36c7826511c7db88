"""Languages: how files are recognised, which grammar parses them, what part a path plays."""

from ingest.languages.detection import detect_language
from ingest.languages.roles import path_role
from ingest.languages.table import LANGUAGES, Language

__all__ = ["LANGUAGES", "Language", "detect_language", "path_role"]
