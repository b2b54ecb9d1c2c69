#!/bin/sh
# Runs the scripts of /docker-entrypoint.d, then the command, as the official image does.
set -e
if [ "$1" = nginx ]; then
	for script in /docker-entrypoint.d/*.sh; do
		if [ -x "$script" ]; then "$script"; fi
	done
fi
exec "$@"
