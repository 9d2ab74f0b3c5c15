"""Backups in a repository: a folder, or a place at any URL that fsspec knows, such as s3://.

It keeps what `Client.backup` streams, lists, checks and prunes backups, and restores them. A file
is stored under the SHA-256 of its content, so a file that did not change is stored once; a backup
is the list of its files, written last. FORMAT.md (in `store`) defines both.

Promises: an interrupted backup or pruning leaves every finished backup as it was; what is restored
has been compared with its checksums; an interrupted restore leaves either no database or a
complete one. It runs without the server's libraries, on any machine, and does not know what the
files mean.
"""
