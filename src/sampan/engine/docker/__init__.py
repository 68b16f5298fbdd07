"""The Docker Engine API on a unix socket: images and builds, for the unmodified `docker` client and our own.

`server` maps paths to handlers; `images` and `build` hold those; `answers` the forms of bodies, errors and streams;
`client` is the other end, for the command line. Containers are not here: their paths answer 404, as Docker does for
pages it lacks.
Source: Docker Engine API v1.41.
"""
